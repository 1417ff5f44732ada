"""A shop's issuer for a bench: it publishes two keys, and signs as many tokens as are wanted."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

AUDIENCE = "the-shop"
LIFE = 3600
"""Seconds that a token is valid. A bench takes less."""


@dataclass(frozen=True)
class SignIn:
    """The issuer's address and its keys, by algorithm."""

    url: str
    keys: dict[str, Any]

    def environment(self) -> dict[str, str]:
        """The settings of a server whose buyers sign in here."""
        return {"DROPZERO_ISSUER": self.url, "DROPZERO_AUDIENCE": AUDIENCE}

    def token(self, algorithm: str) -> str:
        """The token of a new buyer, with the claims that issuers add to it."""
        now, subject = int(time.time()), str(uuid.uuid4())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + LIFE,
            "auth_time": now,
            "jti": str(uuid.uuid4()),
            "azp": "the-storefront-of-the-shop",
            "scope": "openid profile email",
            "email": f"{subject}@mail.example",
            "email_verified": True,
        }
        return jwt.encode({"alg": algorithm, "kid": algorithm}, claims, self.keys[algorithm], algorithms=[algorithm])


@contextmanager
def sign_in() -> Iterator[SignIn]:
    """Run an issuer in a thread of this process. A server reads its keys once in five minutes."""
    keys: dict[str, Any] = {"ES256": ECKey.generate_key("P-256"), "RS256": RSAKey.generate_key(2048)}
    documents: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(documents.get(self.path)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        documents["/.well-known/openid-configuration"] = {"issuer": url, "jwks_uri": f"{url}/keys"}
        documents["/keys"] = {
            "keys": [
                {**key.as_dict(private=False), "kid": name, "alg": name, "use": "sig"} for name, key in keys.items()
            ]
        }
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield SignIn(url, keys)
        finally:
            server.shutdown()

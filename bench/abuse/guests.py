"""The buyers of a server with endpoints configured: guests, each with a token that the server's key has signed.

A token is made here and not by the server, which gives an address only so many.
"""

import time
from functools import cache

from joserfc import jwt
from joserfc.jwk import OctKey

from api.identity.guests import ISSUER, LIFETIME, SUBJECT_PREFIX
from bench.products import execute
from bench.servers import Process

KEY = "the-key-of-guest-tokens-of-a-bench"
HONEST = f"{SUBJECT_PREFIX}honest-"
"""The prefix of the honest buyers' subjects."""


def has_guests(server: Process) -> bool:
    """Whether buyers can be guests. In versions without guests, every caller may name any buyer."""
    return any(field["name"] == "guest" for field in execute(server, _MUTATIONS)["__type"]["fields"])


_MUTATIONS = '{ __type(name: "Mutation") { fields { name } } }'


@cache
def token_of(subject: str) -> str:
    """The token of the guest with this subject."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": subject, "iat": now, "exp": now + LIFETIME}
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(KEY.encode()), algorithms=["HS256"])

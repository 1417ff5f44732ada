"""The token that opens a connection: a presigned request for an action on an endpoint, checked as AWS checks it.

The signature is computed here a second time, from the specification of Signature Version 4. botocore is not used for
that, as clients sign with it.
"""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

from tests.dsql.wire import Refusal, Refused

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
"""The keys of the only identity that may connect, from the examples of the AWS documentation."""

CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
"""The environment variables that hold these keys."""

ADMIN = "admin"

ACCESS_DENIED = "08006"
"""The SQLSTATE of `unable to accept connection, access denied`, by two public logs of node-postgres and pgx. A lost
connection has the same SQLSTATE: only the text differs."""

_ALGORITHM = "AWS4-HMAC-SHA256"
_LONGEST = timedelta(days=7)
_SKEW = timedelta(minutes=5)  # a client's clock may be ahead of ours by this


def denied(hint: str) -> Refused:
    return Refused(Refusal(ACCESS_DENIED, "unable to accept connection, access denied", hint, "FATAL"))


def expired(signed: datetime, now: datetime) -> Refused:
    return denied(f"Signature expired: {signed:%Y%m%dT%H%M%SZ} is now earlier than {now:%Y%m%dT%H%M%SZ}")


def check_token(token: str, role: str, host: str, region: str | None, now: datetime) -> None:
    """Raises Refused, unless the token allows `role` to log in at `host`. Region None accepts a token of any Region."""
    named, _, query = token.partition("/?")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    signature = parameters.pop("X-Amz-Signature", "")
    try:
        key_id, day, scope_region, service, terminator = parameters["X-Amz-Credential"].split("/")
        signed = datetime.strptime(parameters["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        lifetime = timedelta(seconds=int(parameters["X-Amz-Expires"]))
        action = parameters["Action"]
    except (KeyError, ValueError):
        raise denied("The token is no presigned request") from None

    if parameters.get("X-Amz-Algorithm") != _ALGORITHM or (service, terminator) != ("dsql", "aws4_request"):
        raise denied("Credential should be scoped to correct service: 'dsql'")
    if key_id != ACCESS_KEY_ID:
        raise denied("The security token included in the request is invalid")
    if region is not None and scope_region != region:
        raise denied(f"Credential should be scoped to a valid region, not '{scope_region}'")
    if named != host or parameters.get("X-Amz-SignedHeaders") != "host":
        raise denied(f"The token was made for the endpoint {named}")
    scope = f"{day}/{scope_region}/{service}/{terminator}"
    if not hmac.compare_digest(signature, _signature(host, parameters, day, scope_region, scope)):
        raise denied("The request signature we calculated does not match the signature you provided")
    if day != f"{signed:%Y%m%d}" or signed > now + _SKEW or not timedelta(0) < lifetime <= _LONGEST:
        raise denied("The token's time is not valid")
    if now >= signed + lifetime:
        raise expired(signed, now)
    if action != ("DbConnectAdmin" if role == ADMIN else "DbConnect"):
        raise denied(f"Wrong user to action mapping. user: {role}, action: {action}")


def _signature(host: str, parameters: dict[str, str], day: str, region: str, scope: str) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parameters.items())
    canonical_query = "&".join(f"{name}={value}" for name, value in pairs)
    empty = hashlib.sha256(b"").hexdigest()
    request = f"GET\n/\n{canonical_query}\nhost:{host}\n\nhost\n{empty}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    to_sign = f"{_ALGORITHM}\n{parameters['X-Amz-Date']}\n{scope}\n{digest}"
    key = f"AWS4{SECRET_ACCESS_KEY}".encode()
    for part in (day, region, "dsql", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()

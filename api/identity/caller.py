"""Who is calling: decided here once per request or socket, and handed to resolvers as a value."""

import hmac
from dataclasses import dataclass


class Unauthenticated(Exception):
    """The operation is the operator's, and the caller did not show to be the operator."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`operator`: a valid operator's token was shown. `objection`: why not, for those who ask for more."""

    operator: bool
    objection: str = ""

    def require_operator(self) -> None:
        """Raises Unauthenticated."""
        if not self.operator:
            raise Unauthenticated(self.objection)


OPERATOR = Caller(operator=True)
_NO_TOKEN = Caller(
    operator=False,
    objection="this is for the operator: send the operator's token as the header Authorization: Bearer TOKEN "
    "(on a websocket, in connection_init's payload)",
)
_NOT_BEARER = Caller(operator=False, objection="Authorization must read: Bearer TOKEN, with the operator's token")
_WRONG_TOKEN = Caller(
    operator=False,
    objection="the token that was sent is not the operator's token of this server: it is what DROPZERO_ADMIN_TOKEN "
    "was set to when the server started, or what the server printed then",
)
_CLOSED = Caller(
    operator=False,
    objection="this is for the operator, and this server has no operator's token; "
    "set DROPZERO_ADMIN_TOKEN on the server to open it",
)


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Knows the operator's token; None when there is none, and then nobody is the operator."""

    admin_token: str | None

    def identify(self, authorization: str | None) -> Caller:
        """The caller that an Authorization header, or its like in connection_init, stands for."""
        if self.admin_token is None:
            return _CLOSED
        if not authorization:
            return _NO_TOKEN
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return _NOT_BEARER
        # Compared as bytes: compare_digest refuses text that is not ASCII.
        return OPERATOR if hmac.compare_digest(token.encode(), self.admin_token.encode()) else _WRONG_TOKEN

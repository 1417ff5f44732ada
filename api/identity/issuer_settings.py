"""What a shop configures of its issuer, and what its tokens must say."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yarl

from api.identity.claims import MAX_SUBJECT, Claims, TokenRefused, is_subject
from api.identity.json_web_keys import ALGORITHMS
from api.identity.signed_token import SignedToken

LAST_MOMENT = 253_402_300_800.0
"""The end of the year 9999, in Unix seconds. A later moment in a token is a mistake."""

SIGN_IN = "sign in again and send the new token"


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """`issuer`: its address, exactly as its tokens have it. `audience`: a token must be for one of these.

    `subject_claim`: the claim that names the buyer. `roles_claim`: the claim with the buyer's roles, such as
    `realm_access.roles`; see `_values`. `role_names`: which value of that claim gives which role of this server.
    """

    issuer: str
    audience: frozenset[str]
    subject_claim: str = "sub"
    roles_claim: str = ""
    role_names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError for an issuer that is not at a safe address, and without an audience."""
        if not is_safe(self.issuer) or yarl.URL(self.issuer).query_string:
            raise ValueError(
                "expected the address of an issuer, such as https://sign-in.shop.example, with https:// "
                "(http:// on this machine alone), and without a user, a query or a fragment"
            )
        if not self.audience or not all(self.audience):
            raise ValueError("expected the audience of the issuer's tokens: without one, tokens for others would do")

    @property
    def discovery(self) -> str:
        """Where the issuer describes itself (OpenID Connect Discovery 1.0, section 4)."""
        return f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"

    def claims_of(self, token: SignedToken, now: float, leeway: float) -> Claims:
        """What the token says, before its signature is checked. Raises TokenRefused. `now` in Unix seconds."""
        said = token.claims
        if token.algorithm not in ALGORITHMS:
            raise TokenRefused(f"the token is not signed with any of {', '.join(ALGORITHMS)}, and no other is accepted")
        if said.get("iss") != self.issuer:
            raise TokenRefused(f"the token is not from the issuer of this shop, {self.issuer}: sign in there")
        if self.audience.isdisjoint(_audience_of(said)):
            raise TokenRefused(
                f"the token is not for this shop: ask the issuer for one for {', '.join(sorted(self.audience))}"
            )
        expires_at = _checked_times(said, now, leeway)
        subject = said.get(self.subject_claim)
        if not is_subject(subject):
            raise TokenRefused(
                f"the token names nobody who can buy: its claim {self.subject_claim} must be a text of 1 to "
                f"{MAX_SUBJECT} visible characters, without blanks at its ends"
            )
        assert isinstance(subject, str)
        return Claims(subject, self._roles_of(said), guest=False, expires_at=expires_at)

    def _roles_of(self, said: Mapping[str, Any]) -> frozenset[str]:
        if not self.roles_claim or not self.role_names:
            return frozenset()
        return frozenset(
            self.role_names[value] for value in _values(said, self.roles_claim) if value in self.role_names
        )


def is_safe(address: str) -> bool:
    """Whether nobody on the network can change what the address answers: it is https://, or it is on this machine. An
    address with a user or a fragment is not safe either: log lines show addresses."""
    try:
        url = yarl.URL(address)
        host = url.host or ""
    except ValueError:
        return False
    if not host or url.user is not None or url.password is not None or url.fragment:
        return False
    return url.scheme == "https" or (url.scheme == "http" and _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _audience_of(said: Mapping[str, Any]) -> Iterator[str]:
    """Whom the token is for. Amazon Cognito's access tokens have no `aud`; their `client_id` is the app client for
    which they were issued."""
    audience = said.get("aud")
    if audience is None and said.get("token_use") == "access":
        audience = said.get("client_id")
    for value in audience if isinstance(audience, list) else [audience]:
        if isinstance(value, str):
            yield value


def _checked_times(said: Mapping[str, Any], now: float, leeway: float) -> float:
    """The moment from which the token is refused. Raises TokenRefused when that moment has passed, and when the token
    is not valid yet. `leeway` allows for clocks that differ."""
    expires_at = _moment(said, "exp")
    if expires_at is None:
        raise TokenRefused("the token never expires, since it has no claim exp: such tokens are not accepted")
    if now >= expires_at + leeway:
        raise TokenRefused(f"the token has expired: {SIGN_IN}")
    for name in ("nbf", "iat"):
        moment = _moment(said, name)
        if moment is not None and moment > now + leeway:
            raise TokenRefused(
                f"the token is not valid yet, by its claim {name}: check the clocks of the issuer and here"
            )
    return expires_at + leeway


def _moment(said: Mapping[str, Any], name: str) -> float | None:
    """A claim in Unix seconds; None when the token does not have it. Raises TokenRefused."""
    value = said.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_MOMENT:
        raise TokenRefused(f"the token's claim {name} must be a moment in Unix seconds")
    return float(value)


def _values(said: Mapping[str, Any], claim: str) -> Iterator[str]:
    """The texts of a claim: a list of texts, or one text with blanks between its values, as `scope` is.

    `claim` is the claim's name, which can have dots (`https://shop.example/roles`). Where there is no such claim, it is
    a path through objects (`realm_access.roles`).
    """
    value: Any = said.get(claim)
    if value is None:
        value = said
        for name in claim.split("."):
            value = value.get(name) if isinstance(value, dict) else None
    for text in value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else ():
        if isinstance(text, str):
            yield text

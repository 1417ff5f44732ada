"""Who is calling: decided once for each request or socket, and passed to resolvers as a value."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from api.identity.claims import IssuerAway
from api.identity.errors import BuyerMissing, Forbidden, Unauthenticated


class Role(StrEnum):
    """What a caller may do for the shop. An operator may do everything."""

    OPERATOR = "operator"
    SUPPORT = "support"
    """Reads and cancels every buyer's orders."""
    PAYMENTS = "payments"
    """Confirms and releases holds."""


class Kind(StrEnum):
    """The three kinds of caller. Callers of all roles are operators."""

    ANONYMOUS = "anonymous"
    BUYER = "buyer"
    OPERATOR = "operator"


_HOW = (
    "send the operator's token as the header Authorization: Bearer TOKEN (on a websocket, in connection_init's payload)"
)
_CLOSED = "this server has no operator's token; set DROPZERO_ADMIN_TOKEN on the server to open it"
_SIGN_IN = "sign in: send Authorization: Bearer TOKEN; a shop without accounts gives one by the mutation guest"


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller. See `anonymous`, `buyer` and `operator`.

    `subject`: the buyer that the caller is; empty for anonymous callers and for operators' tokens, which buy nothing
    for themselves. `guest`: the buyer has no account. `name`: for the log. `expires_at`: when the caller's token
    expires, in seconds since 1970. `names_any_buyer`: an anonymous caller that may name any buyer, as on a laptop.
    `objection`: why an anonymous caller that has sent a token is not known. `issuer_away`: it is not known because the
    shop's issuer cannot be reached. `closed`: nobody can be an operator of this server.
    """

    subject: str = ""
    roles: frozenset[Role] = frozenset()
    guest: bool = False
    name: str = "anonymous"
    expires_at: float = inf
    names_any_buyer: bool = False
    objection: str = ""
    issuer_away: bool = False
    closed: bool = False

    @property
    def kind(self) -> Kind:
        if self.roles:
            return Kind.OPERATOR
        return Kind.BUYER if self.subject else Kind.ANONYMOUS

    @property
    def operator(self) -> bool:
        """Whether the caller may do everything."""
        return Role.OPERATOR in self.roles

    def has(self, *roles: Role) -> bool:
        """Whether the caller may do what one of the roles may."""
        return self.operator or not self.roles.isdisjoint(roles)

    def require(self, *roles: Role) -> None:
        """Raises Unauthenticated or IssuerAway when the caller is not known, and Forbidden when it has none of the
        roles."""
        if self.has(*roles):
            return
        *first, last = ["the operator", *(f"for {role}" for role in roles if role is not Role.OPERATOR)]
        who = f"{', '.join(first)} and {last}" if first else last
        if self.closed:
            raise Unauthenticated(f"this is for {who}, and {_CLOSED}")
        if self.kind is Kind.ANONYMOUS:
            raise self._not_known(f"this is for {who}: {_HOW}")
        raise Forbidden(f"this is for {who}, and the token that was sent has not the role {' or '.join(roles)}")

    def may_see(self, subject: str) -> bool:
        """Whether the caller may read and cancel the orders of this buyer."""
        return self.has(Role.SUPPORT) or self.names_any_buyer or (bool(subject) and subject == self.subject)

    def orders_of(self, user_ref: str | None) -> str | None:
        """The buyer whose orders the caller reads or cancels; None for those of all buyers, as only the operator and
        support may. `user_ref` and errors as in `subject_for`."""
        if self.has(Role.SUPPORT):
            return user_ref
        if user_ref is None and self.names_any_buyer:
            self.require(Role.SUPPORT)
        return self.subject_for(user_ref)

    def holds_of(self, user_ref: str | None) -> str | None:
        """The buyer whose holds the caller releases; None for those of all buyers, as payments may too. `user_ref` and
        errors as in `subject_for`."""
        return user_ref if self.has(Role.PAYMENTS) else self.orders_of(user_ref)

    def subject_for(self, user_ref: str | None) -> str:
        """The buyer that a request is for, who is the caller when `user_ref` is None. `user_ref` has the form in which
        it is stored. Raises Unauthenticated, IssuerAway, Forbidden for another buyer, BuyerMissing."""
        if user_ref is not None and (self.operator or self.names_any_buyer):
            return user_ref
        if self.subject and user_ref in (None, self.subject):
            return self.subject
        if self.kind is Kind.ANONYMOUS and (self.objection or not self.names_any_buyer):
            raise self._not_known(_SIGN_IN)
        if user_ref is None:
            raise BuyerMissing("this is for one buyer: name the buyer as userRef")
        raise Forbidden("userRef names another buyer, as only the operator may: leave userRef out, or send your own")

    def require_valid_token(self) -> None:
        """Raises Unauthenticated or IssuerAway for a caller whose token is refused or cannot be checked. A caller who
        has sent no token passes."""
        if self.objection:
            raise self._not_known("")

    def _not_known(self, without_token: str) -> Unauthenticated | IssuerAway:
        """The error for what needs a known caller. `without_token` is its message when the caller sent no token."""
        return (IssuerAway if self.issuer_away else Unauthenticated)(self.objection or without_token)


ANONYMOUS = Caller()
"""The caller that has sent no token."""


def buyer(subject: str, *, guest: bool, expires_at: float) -> Caller:
    """The caller of a buyer's token."""
    return Caller(subject, guest=guest, name=subject, expires_at=expires_at)


def operator(name: str, roles: frozenset[Role], subject: str = "", expires_at: float = inf) -> Caller:
    """The caller of an operator's token, or of a token of the shop's issuer with roles, which has a subject too."""
    return Caller(subject, roles, name=name, expires_at=expires_at)


OPERATOR = operator("operator", frozenset({Role.OPERATOR}))
"""The caller of DROPZERO_ADMIN_TOKEN."""


def client_key(address: str, caller: Caller) -> str:
    """The client that is charged for a caller's requests, instead of the address that they came from.

    A signed-in buyer is charged under the subject, so that neighbours behind the same address take nothing away. A
    guest is charged to the address: guest tokens cost nothing, and a thousand guests of one address would have a
    thousand shares. An address has neither prefix, so the keys never mix.
    """
    if caller.subject and not caller.guest:
        return f"subject:{caller.subject}"
    if caller.roles:
        return f"operator:{caller.name}"
    return address

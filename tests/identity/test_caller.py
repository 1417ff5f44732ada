"""What each kind of caller may do, whose orders it may see, and whom its requests are charged to."""

import pytest

from api.identity.caller import ANONYMOUS, OPERATOR, Caller, Kind, Role, buyer, client_key, operator
from api.identity.claims import IssuerAway
from api.identity.errors import BuyerMissing, Forbidden, Unauthenticated

ADA = buyer("ada", guest=False, expires_at=2000.0)
GUEST = buyer("guest-1", guest=True, expires_at=2000.0)
SUPPORT = operator("sue", frozenset({Role.SUPPORT}), "sue", 2000.0)
PAYMENTS = operator("till", frozenset({Role.PAYMENTS}), "till", 2000.0)
LAPTOP = Caller(names_any_buyer=True)
EXPIRED = Caller(objection="the token has expired: sign in again")
AWAY = Caller(objection="the issuer does not answer: try again", issuer_away=True)

SIGN_IN = "sign in: send Authorization: Bearer TOKEN; a shop without accounts gives one by the mutation guest"


def test_each_caller_is_of_one_kind_and_has_a_name_for_the_log() -> None:
    assert [(caller.kind, caller.name) for caller in (ANONYMOUS, EXPIRED, ADA, GUEST, OPERATOR, SUPPORT)] == [
        (Kind.ANONYMOUS, "anonymous"),
        (Kind.ANONYMOUS, "anonymous"),
        (Kind.BUYER, "ada"),
        (Kind.BUYER, "guest-1"),
        (Kind.OPERATOR, "operator"),
        (Kind.OPERATOR, "sue"),
    ]


@pytest.mark.parametrize(
    ("caller", "roles"), [(OPERATOR, set(Role)), (SUPPORT, {Role.SUPPORT}), (PAYMENTS, {Role.PAYMENTS})]
)
def test_an_operator_may_do_everything_and_the_other_roles_their_part(caller: Caller, roles: set[Role]) -> None:
    for role in Role:
        if role in roles:
            caller.require(role)
        else:
            with pytest.raises(Forbidden, match="has not the role"):
                caller.require(role)
    assert caller.operator is (caller is OPERATOR)


@pytest.mark.parametrize(
    ("caller", "kind", "message"),
    [
        (ANONYMOUS, Unauthenticated, "this is for the operator and for support: send the operator's token"),
        (LAPTOP, Unauthenticated, "this is for the operator and for support: send the operator's token"),
        (EXPIRED, Unauthenticated, "the token has expired: sign in again"),
        (AWAY, IssuerAway, "the issuer does not answer: try again"),
        (Caller(closed=True), Unauthenticated, "this is for the operator and for support, and this server has no"),
        (ADA, Forbidden, "this is for the operator and for support, and the token that was sent has not the role"),
        (GUEST, Forbidden, "this is for the operator and for support, and the token that was sent has not the role"),
    ],
)
def test_a_caller_without_a_role_is_refused_with_what_to_send(
    caller: Caller, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as refusal:
        caller.require(Role.SUPPORT)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    ("caller", "user_ref", "subject"),
    [
        (ADA, None, "ada"),
        (ADA, "ada", "ada"),
        (GUEST, None, "guest-1"),
        (OPERATOR, "ada", "ada"),
        (SUPPORT, None, "sue"),
        (operator("sue", OPERATOR.roles, "sue", 2000.0), None, "sue"),
        (operator("sue", OPERATOR.roles, "sue", 2000.0), "ada", "ada"),
        (LAPTOP, "ada", "ada"),
    ],
)
def test_a_request_is_for_its_caller_or_for_the_buyer_that_may_be_named(
    caller: Caller, user_ref: str | None, subject: str
) -> None:
    assert caller.subject_for(user_ref) == subject


@pytest.mark.parametrize(
    ("caller", "user_ref", "kind", "message"),
    [
        (ANONYMOUS, None, Unauthenticated, SIGN_IN),
        (ANONYMOUS, "ada", Unauthenticated, SIGN_IN),
        (ANONYMOUS, "", Unauthenticated, SIGN_IN),
        (EXPIRED, "ada", Unauthenticated, "the token has expired: sign in again"),
        (AWAY, None, IssuerAway, "the issuer does not answer: try again"),
        (ADA, "eve", Forbidden, "userRef names another buyer, as only the operator may"),
        (ADA, "", Forbidden, "userRef names another buyer, as only the operator may"),
        (GUEST, "ada", Forbidden, "userRef names another buyer, as only the operator may"),
        (SUPPORT, "ada", Forbidden, "userRef names another buyer, as only the operator may"),
        (OPERATOR, None, BuyerMissing, "this is for one buyer: name the buyer as userRef"),
        (LAPTOP, None, BuyerMissing, "this is for one buyer: name the buyer as userRef"),
    ],
)
def test_a_request_for_nobody_or_for_another_buyer_is_refused(
    caller: Caller, user_ref: str | None, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as refusal:
        caller.subject_for(user_ref)
    assert str(refusal.value).startswith(message)


def test_orders_are_seen_by_their_buyer_the_operator_and_support() -> None:
    assert [caller.may_see("ada") for caller in (ADA, OPERATOR, SUPPORT, LAPTOP)] == [True] * 4
    eve = buyer("eve", guest=False, expires_at=2000.0)
    assert [caller.may_see("ada") for caller in (ANONYMOUS, eve, GUEST, PAYMENTS, EXPIRED, AWAY)] == [False] * 6
    assert not ANONYMOUS.may_see("")


def test_holds_are_released_by_their_buyer_and_by_every_role() -> None:
    assert [caller.holds_of(None) for caller in (OPERATOR, SUPPORT, PAYMENTS)] == [None] * 3
    assert [caller.holds_of("ada") for caller in (OPERATOR, SUPPORT, PAYMENTS, ADA, LAPTOP)] == ["ada"] * 5
    assert ADA.holds_of(None) == "ada"
    for caller, user_ref, kind in ((GUEST, "ada", Forbidden), (ANONYMOUS, None, Unauthenticated)):
        with pytest.raises(kind):
            caller.holds_of(user_ref)
    with pytest.raises(Unauthenticated, match="this is for the operator and for support"):
        LAPTOP.holds_of(None)


def test_one_of_several_roles_is_enough() -> None:
    for caller in (OPERATOR, SUPPORT, PAYMENTS):
        caller.require(Role.SUPPORT, Role.PAYMENTS)
    with pytest.raises(Forbidden, match=r"for the operator, for support and for payments, .* support or payments"):
        ADA.require(Role.SUPPORT, Role.PAYMENTS)


ADDRESS = "198.51.100.1"


def test_a_signed_in_buyer_is_charged_as_itself_wherever_it_comes_from() -> None:
    assert client_key(ADDRESS, ADA) == client_key("192.0.2.7", ADA) == "subject:ada"
    assert client_key(ADDRESS, buyer("eve", guest=False, expires_at=2000.0)) == "subject:eve"


def test_a_thousand_guests_of_one_address_have_the_one_share_of_their_address() -> None:
    guests = [buyer(f"guest-{number}", guest=True, expires_at=2000.0) for number in range(1000)]
    assert {client_key(ADDRESS, caller) for caller in (ANONYMOUS, LAPTOP, EXPIRED, *guests)} == {ADDRESS}


def test_operators_are_charged_by_name_and_no_buyer_can_be_named_like_one() -> None:
    ci, till = operator("ci", OPERATOR.roles), operator("till", OPERATOR.roles)
    assert client_key(ADDRESS, OPERATOR) == "operator:operator"
    assert len({client_key(ADDRESS, caller) for caller in (ci, till, OPERATOR)}) == 3
    named = buyer("operator:ci", guest=False, expires_at=2000.0)
    assert client_key(ADDRESS, named) != client_key(ADDRESS, ci)
    assert client_key(ADDRESS, SUPPORT) == "subject:sue"

"""Buyers' tokens: guests' and the shop's issuer's; kept when valid, refused with a reason, and never a neighbour's."""

from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from api.identity import authenticator as module
from api.identity.authenticator import (
    FREE_GUESSES,
    FREE_GUESTS,
    MAX_KEPT,
    REFUSED_BUYERS,
    REFUSED_GUESTS,
    REFUSED_TOKENS,
    Authenticator,
)
from api.identity.caller import Caller, Kind, Role
from api.identity.claims import Claims, IssuerAway, TokenRefused
from api.identity.errors import Forbidden, RateLimited, Unauthenticated
from api.identity.guests import ISSUER as GUESTS
from api.identity.guests import LIFETIME, GuestTokens
from api.identity.issuer import Issuer
from api.identity.issuer_keys import IssuerTimes
from api.identity.issuer_settings import IssuerSettings
from api.identity.operator_tokens import OperatorTokens
from api.identity.refusals import Refusals
from tests.clock import SetClock
from tests.identity import shop_issuer
from tests.patience import PATIENCE

KEY, FOREIGN_KEY = "a-key-of-this-deployment-0123456", "a-key-of-somebody-else-012345678"
ADMIN = "the-operators-token"
NOW = 1_800_000_000.0
HERE, THERE = "198.51.100.1", "198.51.100.2"
ADA = Claims("ada", frozenset(), guest=False, expires_at=NOW + 600)


class SetIssuer:
    """The shop's issuer, which says of each token what the test has set: claims, or an error."""

    def __init__(self) -> None:
        self.says: dict[str, Claims | Exception] = {}
        self.asked: list[str] = []

    async def verify(self, token: str) -> Claims:
        self.asked.append(token)
        said = self.says.get(token, TokenRefused("the signature is not by the issuer: sign in again"))
        if isinstance(said, Exception):
            raise said
        return said


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NOW)


@pytest.fixture
def issuer() -> SetIssuer:
    return SetIssuer()


@pytest.fixture
async def refusals() -> AsyncIterator[Refusals]:
    refusals = Refusals()
    yield refusals
    refusals.close()


@pytest.fixture
def authenticator(refusals: Refusals, clock: SetClock, issuer: SetIssuer) -> Authenticator:
    return Authenticator(
        OperatorTokens(ADMIN), refusals, guests=GuestTokens([KEY]), issuer=issuer, clock=clock, now=clock
    )


def token(iss: str | None = "https://sign-in.shop.example", key: str = FOREIGN_KEY, **claims: Any) -> str:
    said = {"iss": iss, "sub": "guest-1", "exp": int(NOW) + 600, **claims}
    return jwt.encode({"alg": "HS256"}, said, OctKey.import_key(key.encode()))


async def caller_of(authenticator: Authenticator, token: str, client: str = HERE) -> Caller:
    return await authenticator.identify(f"Bearer {token}", client)


def objection_of(caller: Caller) -> str:
    assert caller.kind is Kind.ANONYMOUS
    with pytest.raises(Unauthenticated) as refusal:
        caller.subject_for(None)
    return str(refusal.value)


async def test_a_guest_token_makes_its_caller_the_guest_until_it_expires(
    authenticator: Authenticator, clock: SetClock, issuer: SetIssuer
) -> None:
    guest = authenticator.new_guest(HERE)
    for _ in range(2):
        caller = await caller_of(authenticator, guest.token)
        assert (caller.subject, caller.guest, caller.roles) == (guest.subject, True, frozenset())
        assert caller.expires_at == guest.expires_at == NOW + LIFETIME
        clock.now = NOW + LIFETIME - 1
    clock.now = NOW + LIFETIME
    for _ in range(2 * FREE_GUESSES):
        expired = objection_of(await caller_of(authenticator, guest.token))
        assert expired == "the guest token that was sent has expired; get a new one by the mutation guest"
    assert issuer.asked == []


async def test_any_other_jwt_is_for_the_issuer_to_verify(authenticator: Authenticator, issuer: SetIssuer) -> None:
    for name, iss in (("ada", "https://sign-in.shop.example"), ("eve", "somebody"), ("bob", None)):
        sent = token(iss)
        issuer.says[sent] = replace(ADA, subject=name)
        caller = await caller_of(authenticator, sent)
        assert (caller.kind, caller.subject, caller.guest, caller.expires_at) == (Kind.BUYER, name, False, NOW + 600)


async def test_roles_of_the_issuer_make_operators_that_have_a_subject(
    authenticator: Authenticator, issuer: SetIssuer
) -> None:
    sent = token()
    issuer.says[sent] = replace(ADA, roles=frozenset({"support", "payments", "unknown"}))
    caller = await caller_of(authenticator, sent)
    assert (caller.kind, caller.subject, caller.name) == (Kind.OPERATOR, "ada", "ada")
    assert caller.roles == {Role.SUPPORT, Role.PAYMENTS}
    assert not caller.operator


async def test_a_buyer_and_support_sign_in_at_an_issuer_over_http(refusals: Refusals) -> None:
    clock = SetClock(shop_issuer.NOW)
    async with shop_issuer.shop_issuer() as shop:
        audience, names = frozenset({shop_issuer.AUDIENCE}), {"staff": str(Role.SUPPORT)}
        settings = IssuerSettings(shop.url, audience, roles_claim="groups", role_names=names)
        issuer = Issuer(settings, IssuerTimes(deadline=PATIENCE), clock)
        issuer.start()
        try:
            authenticator = Authenticator(OperatorTokens(None), refusals, issuer=issuer, clock=clock, now=clock)
            ada = await caller_of(authenticator, shop.token("ada"))
            sue = await caller_of(authenticator, shop.token("sue", groups=["staff", "choir"]))
            forged = await caller_of(authenticator, f"{shop.token('eve')[:-20]}{'A' * 20}")
        finally:
            await issuer.close()
    assert (ada.kind, ada.subject_for(None), ada.may_see("eve")) == (Kind.BUYER, "ada", False)
    assert sue.roles == {Role.SUPPORT}
    assert (sue.subject_for(None), sue.may_see("ada")) == ("sue", True)
    assert "signature is not by the issuer" in objection_of(forged)


async def test_the_issuer_cannot_name_a_guest(authenticator: Authenticator, issuer: SetIssuer) -> None:
    sent = token()
    issuer.says[sent] = replace(ADA, subject="guest-1")
    assert "begins with guest-" in objection_of(await caller_of(authenticator, sent))


async def test_a_guest_token_that_another_key_has_signed_is_refused_and_not_shown_to_the_issuer(
    authenticator: Authenticator, issuer: SetIssuer
) -> None:
    sent = token(GUESTS)
    issuer.says[sent] = ADA
    assert objection_of(await caller_of(authenticator, sent)).startswith("this deployment has not signed")
    assert issuer.asked == []


async def test_without_guests_and_without_an_issuer_every_jwt_is_refused(refusals: Refusals) -> None:
    closed = Authenticator(OperatorTokens(ADMIN), refusals, now=lambda: NOW)
    for sent in (token(), token(GUESTS, KEY)):
        assert objection_of(await caller_of(closed, sent)).startswith("this server does not know the issuer")
    with pytest.raises(Forbidden, match="set DROPZERO_GUEST_KEY on the server"):
        closed.new_guest(HERE)


async def test_an_issuer_that_is_away_is_no_fault_of_the_token(
    authenticator: Authenticator, issuer: SetIssuer, refusals: Refusals
) -> None:
    sent = token()
    issuer.says[sent] = IssuerAway("the issuer does not answer: try again")
    for _ in range(2 * FREE_GUESSES):
        caller = await caller_of(authenticator, sent)
        assert caller.kind is Kind.ANONYMOUS
        for needs_a_buyer in (lambda: caller.subject_for(None), lambda: caller.require(Role.OPERATOR)):  # noqa: B023
            with pytest.raises(IssuerAway, match="the issuer does not answer: try again"):
                needs_a_buyer()
    assert refusals.counts == {}
    issuer.says[sent] = ADA
    assert (await caller_of(authenticator, sent)).subject == "ada"


async def test_a_token_that_the_issuer_takes_back_is_refused_at_once(
    authenticator: Authenticator, issuer: SetIssuer
) -> None:
    sent = token()
    issuer.says[sent] = ADA
    assert (await caller_of(authenticator, sent)).subject == "ada"
    issuer.says[sent] = TokenRefused("the key was withdrawn: sign in again")
    assert objection_of(await caller_of(authenticator, sent)) == "the key was withdrawn: sign in again"
    issuer.says[sent] = replace(ADA, subject="eve")
    assert (await caller_of(authenticator, sent)).subject == "eve"


async def test_an_expired_token_is_no_guess_however_often_it_is_sent(
    authenticator: Authenticator, issuer: SetIssuer, clock: SetClock, refusals: Refusals
) -> None:
    """The page of a shop sends its token until it notices. The leeway is left to the verifier."""
    sent = token()
    clock.now = NOW + 600 + 29.9
    await caller_of(authenticator, sent)
    assert issuer.asked == [sent]
    clock.now = NOW + 600 + 30
    issuer.says[sent] = ADA
    for _ in range(100):
        caller = await caller_of(authenticator, sent)
        assert objection_of(caller) == "the token that was sent has expired; sign in again and send the new one"
    assert issuer.asked == [sent]
    assert refusals.counts == {REFUSED_BUYERS: 1}


async def test_on_a_laptop_a_refused_token_names_no_buyer(refusals: Refusals) -> None:
    laptop = Authenticator(OperatorTokens(ADMIN), refusals, guests=GuestTokens([KEY]), open_to_anyone=True)
    assert (await laptop.identify(None, HERE)).subject_for("ada") == "ada"
    caller = await caller_of(laptop, token(GUESTS, exp=9_999_999_999))
    with pytest.raises(Unauthenticated, match="get a new one by the mutation guest"):
        caller.subject_for("ada")


async def test_garbage_slows_its_client_down_and_no_buyer_behind_the_same_address(
    authenticator: Authenticator, issuer: SetIssuer, refusals: Refusals, clock: SetClock
) -> None:
    guest, ada = authenticator.new_guest(HERE), token(sub="ada")
    issuer.says[ada] = ADA
    for number in range(FREE_GUESSES):
        assert (await caller_of(authenticator, token(sub=f"garbage-{number}"))).kind is Kind.ANONYMOUS
    for number in range(1000):
        with pytest.raises(RateLimited, match="too many wrong tokens came from your address") as limited:
            await caller_of(authenticator, token(sub=f"more-{number}"))
        assert limited.value.retry_after == 1.0
    assert refusals.counts[REFUSED_BUYERS] == FREE_GUESSES + 1000
    with pytest.raises(RateLimited):
        await caller_of(authenticator, ADMIN)
    assert refusals.counts[REFUSED_TOKENS] == 1

    for _ in range(2):  # new, and kept
        assert (await caller_of(authenticator, guest.token)).subject == guest.subject
        assert (await caller_of(authenticator, ada)).subject == "ada"
    assert (await caller_of(authenticator, ADMIN, THERE)).operator
    clock.now += 1.0
    assert (await caller_of(authenticator, ADMIN)).operator


async def test_an_operators_token_may_look_like_a_jwt(refusals: Refusals) -> None:
    sent = token()
    authenticator = Authenticator(OperatorTokens(sent), refusals, now=lambda: NOW)
    assert (await caller_of(authenticator, sent)).operator


@pytest.mark.parametrize("sent", ["a.b.c", "e30.e30.e30", "eyJhbGciOiJub25lIg.e30.", "e30.e30", "é.é.é"])
async def test_what_is_no_jwt_is_compared_with_operators_tokens(
    authenticator: Authenticator, issuer: SetIssuer, sent: str
) -> None:
    assert objection_of(await caller_of(authenticator, sent)).startswith("the token that was sent is not the operator")
    assert issuer.asked == []


async def test_a_token_that_is_too_long_is_refused_before_it_is_read(
    authenticator: Authenticator, issuer: SetIssuer
) -> None:
    assert "is too long" in objection_of(await caller_of(authenticator, token(padding="x" * 8000)))
    assert issuer.asked == []


async def test_a_valid_guest_token_is_verified_once(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = authenticator.new_guest(HERE)
    first = await caller_of(authenticator, guest.token)

    def read_again(token: str) -> None:
        raise AssertionError

    monkeypatch.setattr(module, "read_unverified", read_again)
    monkeypatch.setattr(GuestTokens, "verify", read_again)
    assert await caller_of(authenticator, guest.token) is first
    with pytest.raises(AssertionError):
        await caller_of(authenticator, f"{guest.token}x")


async def test_the_tokens_that_were_sent_longest_ago_are_forgotten_first(
    authenticator: Authenticator, issuer: SetIssuer
) -> None:
    tokens = [token(sub=str(number)) for number in range(5)]
    issuer.says = dict.fromkeys(tokens, ADA)
    for sent in tokens[:3]:
        await caller_of(authenticator, sent)
    kept = authenticator._kept
    others = map(str.encode, map(str, range(MAX_KEPT - len(kept))))
    kept.update(dict.fromkeys(others, next(iter(kept.values()))))
    for sent in (tokens[0], *tokens[3:]):
        await caller_of(authenticator, sent)
    assert len(kept) == MAX_KEPT
    assert [sha256(sent.encode()).digest() in kept for sent in tokens] == [True, False, False, True, True]


async def test_no_text_of_a_token_is_kept(authenticator: Authenticator) -> None:
    guest = authenticator.new_guest(HERE)
    await caller_of(authenticator, guest.token)
    assert guest.token not in repr(authenticator._kept)
    assert guest.token.rpartition(".")[2] not in repr(authenticator._kept)


async def test_an_address_gets_guest_tokens_at_the_pace_of_buyers(
    authenticator: Authenticator, clock: SetClock, refusals: Refusals
) -> None:
    assert len({authenticator.new_guest(HERE).subject for _ in range(FREE_GUESTS)}) == FREE_GUESTS
    for _ in range(100):
        with pytest.raises(RateLimited, match="too many guest tokens went to your address") as limited:
            authenticator.new_guest(HERE)
        assert limited.value.retry_after == 1.0
    assert refusals.counts[REFUSED_GUESTS] == 100
    authenticator.new_guest(THERE)
    clock.now += 1.0
    authenticator.new_guest(HERE)
    with pytest.raises(RateLimited):
        authenticator.new_guest(HERE)

"""The operator's token: a caller that sends it is the operator, and a client that guesses it is slowed down."""

from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from api.identity.allowance import MAX_REMEMBERED
from api.identity.authenticator import FREE_GUESSES, REFUSED_TOKENS, Authenticator
from api.identity.caller import OPERATOR, Role
from api.identity.errors import RateLimited, Unauthenticated
from api.identity.operator_tokens import OperatorTokens
from api.identity.refusals import Refusals
from tests.clock import SetClock

TOKEN = "the-operators-token"
RIGHT, WRONG = f"Bearer {TOKEN}", "Bearer a-guess"


@pytest.fixture
def clock() -> SetClock:
    return SetClock(1000.0)


@pytest.fixture
async def refusals() -> AsyncIterator[Refusals]:
    refusals = Refusals()
    yield refusals
    refusals.close()


@pytest.fixture
def authenticator(refusals: Refusals, clock: SetClock) -> Authenticator:
    return Authenticator(OperatorTokens(TOKEN), refusals, clock=clock)


async def guess(authenticator: Authenticator, times: int, client: str = "198.51.100.1") -> None:
    for number in range(times):
        assert not (await authenticator.identify(f"Bearer guess-{number}", client)).operator


async def wait_for(authenticator: Authenticator, authorization: str, client: str = "198.51.100.1") -> float:
    """Seconds that the client has to wait, from the error that it gets instead of a caller."""
    with pytest.raises(RateLimited) as limited:
        await authenticator.identify(authorization, client)
    return limited.value.retry_after


@pytest.mark.parametrize(
    "authorization", [RIGHT, f"bearer {TOKEN}", f"BEARER  {TOKEN}", f"Bearer {TOKEN}\t "], ids=lambda text: repr(text)
)
async def test_a_caller_with_the_token_is_the_operator(authenticator: Authenticator, authorization: str) -> None:
    assert await authenticator.identify(authorization, "198.51.100.1") == OPERATOR


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "this is for the operator: send the operator's token"),
        ("", "this is for the operator: send the operator's token"),
        ("Bearer", "Authorization must read: Bearer TOKEN"),
        ("Bearer ", "Authorization must read: Bearer TOKEN"),
        (TOKEN, "Authorization must read: Bearer TOKEN"),
        (f"Basic {TOKEN}", "Authorization must read: Bearer TOKEN"),
        (f"Bearer {TOKEN}x", "the token that was sent is not the operator's token"),
        (f"Bearer {TOKEN}\u00a0", "the token that was sent is not the operator's token"),
        ("Bearer \u00e9", "the token that was sent is not the operator's token"),
    ],
)
async def test_any_other_authorization_is_refused_with_a_reason(
    authenticator: Authenticator, authorization: str | None, reason: str
) -> None:
    caller = await authenticator.identify(authorization, "198.51.100.1")
    assert not caller.operator
    with pytest.raises(Unauthenticated) as refusal:
        caller.require(Role.OPERATOR)
    assert str(refusal.value).startswith(reason)


async def test_after_ten_wrong_tokens_even_the_right_token_has_to_wait(
    authenticator: Authenticator, clock: SetClock
) -> None:
    await guess(authenticator, FREE_GUESSES)
    assert await wait_for(authenticator, WRONG) == 1.0
    assert await wait_for(authenticator, RIGHT) == 1.0
    clock.now += 0.75
    assert await wait_for(authenticator, RIGHT) == 0.25
    clock.now += 0.25
    assert await authenticator.identify(RIGHT, "198.51.100.1") == OPERATOR


async def test_a_client_that_goes_on_guessing_gets_one_comparison_a_second(
    authenticator: Authenticator, clock: SetClock
) -> None:
    await guess(authenticator, FREE_GUESSES)
    for _ in range(20):
        clock.now += 1.0
        await guess(authenticator, 1)
        assert await wait_for(authenticator, RIGHT) == 1.0


async def test_tokens_that_are_not_compared_make_the_wait_no_longer(
    authenticator: Authenticator, clock: SetClock
) -> None:
    await guess(authenticator, FREE_GUESSES)
    for _ in range(1000):
        await wait_for(authenticator, WRONG)
    clock.now += 1.0
    assert await authenticator.identify(RIGHT, "198.51.100.1") == OPERATOR


async def test_free_guesses_come_back_with_time(authenticator: Authenticator, clock: SetClock) -> None:
    await guess(authenticator, FREE_GUESSES)
    clock.now += 60.0
    await guess(authenticator, FREE_GUESSES)
    assert await wait_for(authenticator, WRONG) == 1.0


async def test_other_clients_and_callers_without_a_token_do_not_wait(authenticator: Authenticator) -> None:
    await guess(authenticator, FREE_GUESSES)
    assert await authenticator.identify(RIGHT, "198.51.100.2") == OPERATOR
    for authorization in (None, "", "Basic dXNlcjpwYXNz"):
        assert not (await authenticator.identify(authorization, "198.51.100.1")).operator


async def test_the_right_token_is_no_guess(authenticator: Authenticator) -> None:
    for _ in range(1000):
        assert await authenticator.identify(RIGHT, "198.51.100.1") == OPERATOR
    await guess(authenticator, FREE_GUESSES)


async def test_every_refused_token_is_counted(authenticator: Authenticator, refusals: Refusals) -> None:
    await guess(authenticator, FREE_GUESSES)
    await wait_for(authenticator, WRONG)
    await wait_for(authenticator, RIGHT)
    assert refusals.counts[REFUSED_TOKENS] == FREE_GUESSES + 2


async def test_a_flood_of_addresses_is_not_remembered_for_ever(authenticator: Authenticator) -> None:
    await guess(authenticator, FREE_GUESSES, "first")
    await guess(authenticator, FREE_GUESSES, "second")
    for number in range(MAX_REMEMBERED - 2):
        await guess(authenticator, 1, f"client-{number}")
    await wait_for(authenticator, WRONG, "first")  # no guess, since it is not compared
    await guess(authenticator, 1, "another")

    assert len(authenticator._guesses) == MAX_REMEMBERED
    assert await authenticator.identify(RIGHT, "first") == OPERATOR, "the client that guessed longest ago"
    await wait_for(authenticator, RIGHT, "second")


async def test_a_server_without_a_token_compares_and_counts_nothing(refusals: Refusals) -> None:
    closed = Authenticator(OperatorTokens(None), refusals)
    for _ in range(100):
        assert not (await closed.identify(WRONG, "198.51.100.1")).operator
    assert refusals.counts[REFUSED_TOKENS] == 0


async def test_each_operator_has_a_name_and_a_withdrawn_token_is_wrong(refusals: Refusals) -> None:
    digests = {name: sha256(f"token-of-{name}".encode()).digest() for name in ("alice", "bob")}
    both = Authenticator(OperatorTokens(TOKEN, digests), refusals)
    one = Authenticator(OperatorTokens(TOKEN, {"bob": digests["bob"]}), refusals)
    for authenticator, name, found in ((both, "alice", True), (both, "bob", True), (one, "alice", False)):
        caller = await authenticator.identify(f"Bearer token-of-{name}", "198.51.100.1")
        assert caller.operator is found
        assert caller.name == (name if found else "anonymous")


async def test_a_wrong_token_leaves_what_needs_none_open(refusals: Refusals) -> None:
    """A laptop's anonymous callers name any buyer, and a wrong operator's token takes nothing away."""
    laptop = Authenticator(OperatorTokens(TOKEN), refusals, open_to_anyone=True)
    for authorization in (None, "Basic dXNlcjpwYXNz", WRONG):
        assert (await laptop.identify(authorization, "198.51.100.1")).subject_for("ada") == "ada"
    shop = Authenticator(OperatorTokens(TOKEN), refusals)
    for authorization, message in ((None, "sign in: send"), (WRONG, "the token that was sent is not the operator's")):
        caller = await shop.identify(authorization, "198.51.100.1")
        with pytest.raises(Unauthenticated, match=f"^{message}"):
            caller.subject_for("ada")

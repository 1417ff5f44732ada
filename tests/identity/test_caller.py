"""The operator's token: a caller that sends it is the operator, and a client that guesses it is slowed down."""

from collections.abc import AsyncIterator

import pytest

from api.identity.caller import FREE_GUESSES, MAX_GUESSERS, OPERATOR, REFUSED_TOKENS, Authenticator
from api.identity.errors import RateLimited
from api.identity.refusals import Refusals

TOKEN = "the-operators-token"
RIGHT, WRONG = f"Bearer {TOKEN}", "Bearer a-guess"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def refusals() -> AsyncIterator[Refusals]:
    refusals = Refusals()
    yield refusals
    refusals.close()


@pytest.fixture
def authenticator(refusals: Refusals, clock: Clock) -> Authenticator:
    return Authenticator(TOKEN, refusals, clock)


def guess(authenticator: Authenticator, times: int, client: str = "198.51.100.1") -> None:
    for number in range(times):
        assert not authenticator.identify(f"Bearer guess-{number}", client).operator


def wait_for(authenticator: Authenticator, authorization: str, client: str = "198.51.100.1") -> float:
    """Seconds that the client has to wait, from the error that it gets instead of a caller."""
    with pytest.raises(RateLimited) as limited:
        authenticator.identify(authorization, client)
    return limited.value.retry_after


@pytest.mark.parametrize(
    "authorization", [RIGHT, f"bearer {TOKEN}", f"BEARER  {TOKEN}", f"Bearer {TOKEN}\t "], ids=lambda text: repr(text)
)
def test_a_caller_with_the_token_is_the_operator(authenticator: Authenticator, authorization: str) -> None:
    assert authenticator.identify(authorization, "198.51.100.1") == OPERATOR


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
    caller = authenticator.identify(authorization, "198.51.100.1")
    assert not caller.operator
    assert caller.objection.startswith(reason)


async def test_after_ten_wrong_tokens_even_the_right_token_has_to_wait(
    authenticator: Authenticator, clock: Clock
) -> None:
    guess(authenticator, FREE_GUESSES)
    assert wait_for(authenticator, WRONG) == 1.0
    assert wait_for(authenticator, RIGHT) == 1.0
    clock.now += 0.75
    assert wait_for(authenticator, RIGHT) == 0.25
    clock.now += 0.25
    assert authenticator.identify(RIGHT, "198.51.100.1") == OPERATOR


async def test_a_client_that_goes_on_guessing_gets_one_comparison_a_second(
    authenticator: Authenticator, clock: Clock
) -> None:
    guess(authenticator, FREE_GUESSES)
    for _ in range(20):
        clock.now += 1.0
        guess(authenticator, 1)
        assert wait_for(authenticator, RIGHT) == 1.0


async def test_tokens_that_are_not_compared_make_the_wait_no_longer(authenticator: Authenticator, clock: Clock) -> None:
    guess(authenticator, FREE_GUESSES)
    for _ in range(1000):
        wait_for(authenticator, WRONG)
    clock.now += 1.0
    assert authenticator.identify(RIGHT, "198.51.100.1") == OPERATOR


async def test_free_guesses_come_back_with_time(authenticator: Authenticator, clock: Clock) -> None:
    guess(authenticator, FREE_GUESSES)
    clock.now += 60.0
    guess(authenticator, FREE_GUESSES)
    assert wait_for(authenticator, WRONG) == 1.0


async def test_other_clients_and_callers_without_a_token_do_not_wait(authenticator: Authenticator) -> None:
    guess(authenticator, FREE_GUESSES)
    assert authenticator.identify(RIGHT, "198.51.100.2") == OPERATOR
    for authorization in (None, "", "Basic dXNlcjpwYXNz"):
        assert not authenticator.identify(authorization, "198.51.100.1").operator


async def test_the_right_token_is_no_guess(authenticator: Authenticator) -> None:
    for _ in range(1000):
        assert authenticator.identify(RIGHT, "198.51.100.1") == OPERATOR
    guess(authenticator, FREE_GUESSES)


async def test_every_refused_token_is_counted(authenticator: Authenticator, refusals: Refusals) -> None:
    guess(authenticator, FREE_GUESSES)
    wait_for(authenticator, WRONG)
    wait_for(authenticator, RIGHT)
    assert refusals.counts[REFUSED_TOKENS] == FREE_GUESSES + 2


async def test_a_flood_of_addresses_is_not_remembered_for_ever(authenticator: Authenticator) -> None:
    guess(authenticator, FREE_GUESSES, "first")
    guess(authenticator, FREE_GUESSES, "second")
    for number in range(MAX_GUESSERS - 2):
        guess(authenticator, 1, f"client-{number}")
    wait_for(authenticator, WRONG, "first")  # no guess, since it is not compared
    guess(authenticator, 1, "another")

    assert len(authenticator._guessed_until) == MAX_GUESSERS
    assert authenticator.identify(RIGHT, "first") == OPERATOR, "the client that guessed longest ago"
    wait_for(authenticator, RIGHT, "second")


async def test_a_server_without_a_token_compares_and_counts_nothing(refusals: Refusals) -> None:
    closed = Authenticator(None, refusals)
    for _ in range(100):
        assert not closed.identify(WRONG, "198.51.100.1").operator
    assert refusals.counts[REFUSED_TOKENS] == 0

"""How long a request would wait at the gate, and what is refused for it."""

import asyncio
from time import perf_counter

import pytest

from api.identity.admission import Admission
from api.identity.clients import Clients
from api.identity.errors import Overloaded, RateLimited
from api.identity.gate import FIRST_PACE, LATE, LATE_FOR_READS, MIN_PAUSE, PACE_TIME, ROUND, Gate
from api.identity.quota import Quota
from api.identity.refusals import Refusals
from api.identity.turns import Turns
from tests.identity.test_gate import Arrivals
from tests.patience import PATIENCE


async def test_a_request_of_a_gate_without_a_queue_would_not_wait() -> None:
    gate = Gate()
    Arrivals(gate).enter("one", ROUND)

    assert gate.wait("one") == 0.0


async def test_the_pace_is_the_time_from_one_request_that_begins_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.identity.gate.perf_counter", lambda: 104.0)
    gate = Gate()
    gate._paced_until = 100.0  # four seconds, in which 1,000 requests have begun one after the other

    gate._count_pace(1_000)

    assert gate._pace == pytest.approx((PACE_TIME + 4.0) / (PACE_TIME / FIRST_PACE + 1_000))


async def test_time_without_waiting_requests_does_not_slow_the_pace() -> None:
    gate = Gate()
    arrivals = Arrivals(gate)
    for number in range(1, 4):
        before = perf_counter()
        arrivals.enter("one", 2 * ROUND)
        assert gate._paced_until >= before
        await arrivals.until(2 * ROUND * number)
        await asyncio.sleep(0)


async def test_a_flood_makes_its_own_requests_wait_and_no_others() -> None:
    gate = Gate()
    Arrivals(gate).enter("flood", 100_000)

    assert gate.wait("flood") > LATE_FOR_READS
    assert gate.wait("new") < LATE_FOR_READS
    assert type(gate.refusal("flood")) is RateLimited


async def test_many_clients_overload_a_process_together() -> None:
    gate = Gate()
    arrivals = Arrivals(gate)
    for number in range(20_000):
        arrivals.enter(f"client {number}")

    wait = gate.wait("new")
    refusal = gate.refusal("new")
    assert wait > LATE_FOR_READS
    assert type(refusal) is Overloaded
    assert wait <= refusal.retry_after <= 1.5 * wait


async def test_a_refused_client_comes_back_after_a_second_or_later() -> None:
    times = {Gate().refusal("one").retry_after for _ in range(20)}

    assert all(MIN_PAUSE <= seconds <= 1.5 * MIN_PAUSE for seconds in times)
    assert len(times) > 1


async def test_a_request_that_would_wait_too_long_is_refused_at_once() -> None:
    gate = Gate()
    gate._pace_size = gate._pace_seconds / (2 * LATE)  # the requests begin so slowly
    verdicts: list[bool] = []
    for number in range(ROUND):
        gate.enter("flood", lambda _: None)
        gate.enter(f"client {number}", lambda _: None)
    assert gate.wait("one more") > LATE

    gate.enter("one more", verdicts.append)

    assert verdicts == [False]
    with pytest.raises(RateLimited):
        async with asyncio.timeout(PATIENCE):
            await gate.entered("another")


def admission(gate: Gate) -> Admission:
    return Admission(Clients(), gate, Turns(0.1, 0.4), Quota(10), Quota(10), Refusals())


async def test_reads_are_refused_before_other_requests() -> None:
    gate = Gate()
    gate._pace_size = gate._pace_seconds / (LATE_FOR_READS / 4)
    shared, arrivals = admission(gate), Arrivals(gate)
    for number in range(ROUND + 5):
        arrivals.enter(f"client {number}")
    assert LATE_FOR_READS < gate.wait("new") < LATE

    with pytest.raises(Overloaded, match="more requests than it can answer"):
        shared.require_time_to_read("new")

    assert shared.refusals.counts == {"a read, as too many wait,": 1}
    shared.refusals.close()

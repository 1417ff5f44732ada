"""The ledger accuses an answer that is wrong for certain, and no other."""

import random

import pytest

from tests.drops.ledger import NEVER, Change, Ledger, Refusal

BEFORE, DURING, AFTER = (0.0, 1.0), (2.5, 2.6), (4.0, 5.0)
"""Spans of changes, as seen from the refusal."""

REFUSAL = Refusal(1, sent=2.0, answered=3.0)


def accuses(opening: int, *changes: Change, refusal: Refusal = REFUSAL) -> bool:
    return Ledger(opening, list(changes), [refusal]).false_refusals() == [refusal]


def test_a_refusal_is_false_when_nothing_was_taken() -> None:
    assert accuses(1)


def test_a_refusal_is_true_when_the_last_unit_was_taken_before() -> None:
    assert not accuses(1, Change(-1, *BEFORE))


def test_a_refusal_is_false_when_a_unit_was_left() -> None:
    assert accuses(2, Change(-1, *BEFORE))


def test_a_refusal_is_true_when_fewer_units_were_left_than_requested() -> None:
    assert not accuses(2, Change(-1, *BEFORE), refusal=Refusal(2, 2.0, 3.0))


@pytest.mark.parametrize("span", [DURING, (1.0, 5.0), (3.0, 4.0), (2.0, 2.0), (0.0, 2.0)])
def test_a_refusal_is_true_when_the_last_unit_may_have_been_taken_meanwhile(span: tuple[float, float]) -> None:
    assert not accuses(1, Change(-1, *span))


def test_a_refusal_is_false_when_the_last_unit_was_requested_after_it() -> None:
    assert accuses(1, Change(-1, *AFTER))


@pytest.mark.parametrize(("returned", "false"), [((1.0, 1.9), True), (DURING, False), ((1.0, 2.0), False)])
def test_a_returned_unit_counts_from_its_answer_on(returned: tuple[float, float], false: bool) -> None:
    assert accuses(1, Change(-1, 0.0, 0.5), Change(+1, *returned)) is false


def test_a_purchase_without_an_answer_may_have_been_made() -> None:
    assert not accuses(1, Change(-1, 0.0, NEVER))


def test_a_restock_without_an_answer_may_not_have_been_made() -> None:
    assert not accuses(0, Change(+1, 0.0, NEVER))


def test_a_refusal_between_two_decisions_of_one_transaction_is_true() -> None:
    # The transaction sold the last unit, refused the next buyer, and cancelled an earlier order.
    assert not accuses(1, Change(-1, 1.0, 4.0), Change(+1, 1.5, 4.0))


def test_only_the_false_one_of_two_refusals_is_returned() -> None:
    late = Refusal(1, 10.0, 11.0)
    ledger = Ledger(1, [Change(-1, *BEFORE), Change(+1, *AFTER)], [REFUSAL, late])
    assert ledger.false_refusals() == [late]


def test_two_purchases_of_one_unit_overdraw() -> None:
    assert Ledger(1, [Change(-1, *BEFORE), Change(-1, *AFTER)]).overdrawn
    assert not Ledger(2, [Change(-1, *BEFORE), Change(-1, *AFTER)]).overdrawn


@pytest.mark.parametrize(("returned", "overdrawn"), [((6.0, 7.0), True), ((5.0, 7.0), False), (BEFORE, False)])
def test_units_overdraw_even_when_they_are_returned_later(returned: tuple[float, float], overdrawn: bool) -> None:
    changes = [Change(-1, *BEFORE), Change(-1, *AFTER), Change(+1, *returned)]
    assert Ledger(1, changes).overdrawn is overdrawn


def test_what_may_not_have_been_made_does_not_overdraw() -> None:
    assert not Ledger(1, [Change(-1, *BEFORE), Change(-1, 2.0, NEVER)]).overdrawn


def history(chance: random.Random, shards: int) -> Ledger:
    """A day of a server that answers from `shards` rows of stock. It refuses when the row that it looks at has too few
    units: the truth with one row, and often false with several."""
    ledger = Ledger(opening=12)
    rows = [12 // shards] * shards
    for moment in sorted(chance.uniform(0, 100) for _ in range(60)):
        span = (moment - chance.expovariate(1.0), moment + chance.expovariate(1.0))
        row, units = chance.randrange(shards), chance.choice([-3, -2, -1, -1, -1, +1, +2])
        if rows[row] + units < 0:
            ledger.refusals.append(Refusal(-units, *span))
        else:
            rows[row] += units
            ledger.changes.append(Change(units, span[0], chance.choice([span[1], span[1], span[1], NEVER])))
    return ledger


def test_a_server_that_looks_at_all_units_is_never_accused() -> None:
    histories = [history(random.Random(seed), shards=1) for seed in range(300)]  # noqa: S311
    assert sum(len(ledger.refusals) for ledger in histories) > 1_000
    assert [ledger for ledger in histories if ledger.false_refusals() or ledger.overdrawn] == []


def test_a_server_that_looks_at_a_part_of_the_units_is_accused() -> None:
    histories = [history(random.Random(seed), shards=4) for seed in range(300)]  # noqa: S311
    accused = [ledger for ledger in histories if ledger.false_refusals()]
    assert len(accused) > len(histories) * 0.9
    assert not any(ledger.overdrawn for ledger in histories)

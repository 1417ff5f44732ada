"""Units that clients share."""

from collections import Counter

import pytest

from api.identity.quota import Claim, Quota, QuotaSpent


class Crowd:
    """Clients that take one unit after the other, and how often each client gave way."""

    def __init__(self, size: int) -> None:
        self.quota = Quota(size)
        self.gave_way: Counter[str] = Counter()

    def take(self, client: str, units: int = 1) -> Claim:
        return self.quota.take(client, units, lambda: self.gave_way.update([client]))

    def take_all(self, client: str) -> int:
        taken = 0
        while True:
            try:
                self.take(client)
            except QuotaSpent:
                return taken
            taken += 1


def test_a_client_alone_can_have_all_units() -> None:
    crowd = Crowd(100)

    assert crowd.take_all("one") == 100
    assert crowd.quota.taken == 100


def test_the_client_with_most_units_gives_way() -> None:
    crowd = Crowd(100)
    crowd.take_all("greedy")

    for number in range(10):
        crowd.take(f"client {number}")

    assert crowd.gave_way == {"greedy": 10}
    assert crowd.quota.taken == 100


def test_many_greedy_clients_cannot_keep_another_out() -> None:
    crowd = Crowd(100)
    for number in range(20):
        crowd.take_all(f"greedy {number}")
    before = crowd.gave_way.total()

    crowd.take("honest")

    assert (crowd.quota.taken, crowd.gave_way.total()) == (100, before + 1)
    assert crowd.gave_way["honest"] == 0


def test_among_equals_nobody_gives_way() -> None:
    crowd = Crowd(10)
    assert (crowd.take_all("one"), crowd.take_all("another")) == (10, 5)

    with pytest.raises(QuotaSpent):
        crowd.take("one")

    assert crowd.take_all("another") == 0
    assert crowd.gave_way == {"one": 5}


def test_the_newest_claim_ends_first() -> None:
    crowd = Crowd(3)
    claims = [crowd.take("greedy") for _ in range(3)]

    crowd.take("honest")

    assert [claim.valid for claim in claims] == [True, True, False]


def test_units_that_are_given_back_can_be_taken_again() -> None:
    crowd = Crowd(3)
    claims = [crowd.take("one") for _ in range(3)]
    for claim in claims:
        crowd.quota.give_back(claim)
        crowd.quota.give_back(claim)  # a second time: without effect

    assert (crowd.quota.taken, crowd.take_all("one")) == (0, 3)


def test_several_units_are_taken_together_or_not_at_all() -> None:
    crowd = Crowd(100)
    crowd.take("one", 60)
    crowd.take("one", 30)

    with pytest.raises(QuotaSpent):
        crowd.take("one", 11)
    crowd.take("another", 40)

    assert (crowd.quota.taken, crowd.gave_way) == (100, {"one": 1})


def test_a_claim_larger_than_the_quota_makes_nobody_give_way() -> None:
    crowd = Crowd(100)
    crowd.take("one", 60)

    with pytest.raises(QuotaSpent):
        crowd.take("another", 101)

    assert crowd.gave_way == {}


def test_nobody_gives_way_to_a_claim_that_still_would_not_fit() -> None:
    crowd = Crowd(100)
    crowd.take_all("many")

    with pytest.raises(QuotaSpent):
        crowd.take("one", 60)

    assert crowd.gave_way == {}


def test_a_claim_that_moves_counts_for_its_new_client_as_its_newest() -> None:
    crowd = Crowd(4)
    moved, *others = [crowd.take("address") for _ in range(4)]

    crowd.quota.move(moved, "buyer")
    crowd.take("honest")
    assert [moved.valid, *(claim.valid for claim in others)] == [True, True, True, False]

    for claim in others[:2]:
        crowd.quota.move(claim, "buyer")
    assert crowd.gave_way == {"address": 1}, "nobody gives way to a claim that moves"
    crowd.take("another")
    assert [claim.valid for claim in (moved, *others)] == [True, True, False, False]
    assert crowd.gave_way == {"address": 2}


def test_a_claim_that_has_ended_does_not_move() -> None:
    crowd = Crowd(2)
    ended, other = crowd.take("one"), crowd.take("one")
    crowd.quota.give_back(ended)

    crowd.quota.move(ended, "another")
    crowd.quota.give_back(ended)
    crowd.quota.move(other, "one")
    assert (ended.client, crowd.quota.taken, crowd.take_all("one")) == ("one", 1, 1)


def test_a_quota_remembers_no_client_without_claims() -> None:
    crowd = Crowd(1_000)
    for number in range(1_000):
        claim = crowd.take(f"address {number}")
        crowd.quota.move(claim, f"buyer {number}")
        crowd.quota.give_back(claim)

    assert (crowd.quota._taken, crowd.quota._claims) == ({}, {})

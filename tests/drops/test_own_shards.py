"""Which shard each group of a line draws from: one of its own, and another one after a conflict."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.drops.shards import CALM, RESTOCKED, OwnShards

any_times = settings(
    max_examples=200,
    database=None,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""The same examples in each run, however slow the machine is."""


def of_a_product_with(shards: int) -> OwnShards:
    own = OwnShards()
    own.learn(shards)
    return own


@any_times
@given(st.integers(3, 8), st.lists(st.sampled_from(["draw", "keep", "move"]), max_size=40), st.random_module())
def test_two_groups_have_the_same_shard_only_if_no_other_is_free(count: int, steps: list[str], chance: object) -> None:
    own, drawn = of_a_product_with(count), list[int]()
    for number, step in enumerate(steps):
        position = number % max(1, len(drawn))
        if step == "draw":
            shard = own.draw()
        elif not drawn:
            continue
        elif step == "keep":
            own.keep(drawn.pop(position))
            continue
        else:
            left = drawn.pop(position)
            shard = own.move(left)
            assert shard != left, "a move leaves the shard of the rival"
        assert RESTOCKED < shard < count
        free = set(range(1, count)) - set(drawn) - ({left} if step == "move" else set())
        assert shard not in drawn or not free
        drawn.append(shard)


@any_times
@given(st.random_module())
def test_a_line_that_had_no_rival_draws_from_its_last_shard_again(chance: object) -> None:
    own = of_a_product_with(16)
    first, second = own.draw(), own.draw()
    own.keep(first)
    own.keep(second)

    assert (own.draw(), own.draw()) == (second, first)


@any_times
@given(st.random_module())
def test_a_shard_that_was_left_after_a_conflict_is_not_kept(chance: object) -> None:
    own = of_a_product_with(16)
    left = own.draw()
    other = own.move(left)
    own.keep(other)

    assert own.draw() == other != left


@any_times
@given(st.random_module())
def test_a_group_that_moves_leaves_the_kept_shards_to_later_groups(chance: object) -> None:
    own = of_a_product_with(4)
    first, second = own.draw(), own.draw()
    own.keep(second)

    assert own.move(first) not in (first, second)


def test_the_only_shard_serves_every_group() -> None:
    own = of_a_product_with(1)

    assert own.groups == 1
    assert [own.draw(), own.draw()] == [RESTOCKED, RESTOCKED]
    assert own.move(RESTOCKED) == RESTOCKED


def test_a_group_that_had_a_rival_moves_to_the_other_of_two_shards() -> None:
    own = of_a_product_with(2)

    assert own.draw() == 1
    assert own.move(1) == RESTOCKED
    assert own.move(RESTOCKED) == 1


def test_all_but_the_restocked_shard_can_have_a_group() -> None:
    assert of_a_product_with(2).groups == 1
    assert of_a_product_with(16).groups == 15


def test_a_line_that_met_a_rival_has_one_group_at_a_time_until_it_is_calm() -> None:
    own = of_a_product_with(16)
    own.move(own.draw())
    for _ in range(CALM):
        assert own.groups == 1
        own.commit()

    assert own.groups == 15


def test_a_group_knows_the_shards_of_the_groups_beside_it() -> None:
    own = of_a_product_with(16)
    first, second = own.draw(), own.draw()

    assert own.beside(first) == [first, second]
    assert own.beside(second) == [second, first]
    own.keep(first)
    assert own.beside(second) == [second]


@any_times
@given(st.random_module())
def test_kept_shards_that_the_product_does_not_have_are_not_drawn(chance: object) -> None:
    own = OwnShards()
    for shard in [own.draw() for _ in range(15)]:
        own.keep(shard)

    own.learn(3)

    assert {own.draw(), own.draw()} == {1, 2}


def test_a_shard_in_use_that_the_product_does_not_have_is_not_kept() -> None:
    own = OwnShards()
    drawn = [own.draw() for _ in range(15)]
    own.learn(4)
    for shard in drawn:
        own.keep(shard)

    assert all(0 < own.draw() < 4 for _ in range(3))

"""The arithmetic of shards: from which rows a group takes its units. It holds for any stock and any group."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from api.drops.shards import MAX_SHARDS, RESTOCKED, change_stock, split_stock, take_units

any_times = settings(max_examples=300, deadline=None, database=None, derandomize=True)
"""The same examples in each run, however slow the machine is."""


@dataclass(frozen=True, slots=True)
class Sold:
    """The units of each shard, the shards of the line with the group's own first, and the units that are sold."""

    stocks: list[int]
    own: list[int]
    units: int

    @property
    def taken(self) -> dict[int, int]:
        return take_units(self.stocks, self.own, self.units)

    @property
    def left(self) -> list[int]:
        """The units of each shard after the group."""
        return [stock - self.taken.get(shard, 0) for shard, stock in enumerate(self.stocks)]

    @property
    def few(self) -> bool:
        """Whether there are no more units than shards."""
        return sum(self.stocks) <= len(self.stocks)


@st.composite
def sales(draw: st.DrawFn, least: int = 0, most_in_shard: int = 12) -> Sold:
    """Any stock in shards, any shards of a line, and any number of units that are in stock."""
    stocks = draw(
        st.lists(st.integers(0, most_in_shard), min_size=1, max_size=20).filter(lambda stock: sum(stock) >= least)
    )
    own = draw(st.lists(st.integers(0, len(stocks) - 1), min_size=1, max_size=3, unique=True))
    return Sold(stocks, own, draw(st.integers(least, sum(stocks))))


@any_times
@given(sales())
def test_units_taken_equal_units_sold_and_no_shard_falls_below_zero(sold: Sold) -> None:
    assert sum(sold.taken.values()) == sold.units
    assert min(sold.left) >= 0


@any_times
@given(sales(least=1))
def test_nothing_but_the_own_shard_is_written_while_it_has_enough(sold: Sold) -> None:
    if sold.stocks[sold.own[0]] >= sold.units and not sold.few:
        assert sold.taken == {sold.own[0]: sold.units}


@any_times
@given(sales(least=1))
def test_what_the_own_shard_lacks_comes_from_the_fullest_shards_of_rivals(sold: Sold) -> None:
    rivals = set(range(len(sold.stocks))) - set(sold.own)
    giving = rivals & set(sold.taken)
    if giving and not sold.few:
        not_giving = [sold.stocks[shard] for shard in rivals - giving]
        assert min(sold.stocks[shard] for shard in giving) >= max(not_giving, default=0)
        assert sold.stocks[sold.own[0]] < sold.units, "no other shard is written without need"


@any_times
@given(sales(least=1))
def test_the_other_shards_of_the_line_give_only_when_no_rival_has_any_left(sold: Sold) -> None:
    _, *others = sold.own
    if any(shard in sold.taken for shard in others) and not sold.few:
        assert not any(left for shard, left in enumerate(sold.left) if shard not in sold.own)


@any_times
@given(sales(least=1))
def test_a_shard_that_helps_out_gives_half_of_what_it_has_left_to_the_own_shard(sold: Sold) -> None:
    own, *_ = sold.own
    helping = [shard for shard in sold.taken if shard != own]
    if helping and not sold.few:
        # Before it gave a reserve, each of them had twice as much left, or one more.
        fullest = max(helping, key=lambda shard: sold.left[shard])
        assert sold.left[own] >= sold.left[fullest] - 1


@any_times
@given(sales(least=1, most_in_shard=1))
def test_the_last_units_are_taken_from_the_lowest_shards(sold: Sold) -> None:
    in_stock = [shard for shard, stock in enumerate(sold.stocks) if stock]
    assert sold.few
    assert sorted(sold.taken) == in_stock[: sold.units]


@any_times
@given(sales())
def test_a_group_that_buys_nothing_takes_nothing(sold: Sold) -> None:
    assert take_units(sold.stocks, sold.own, 0) == {sold.own[0]: 0}


@any_times
@given(sales(), st.integers(1, 50))
def test_units_that_are_cancelled_go_to_the_own_shard(sold: Sold, cancelled: int) -> None:
    assert change_stock(sold.stocks, sold.own, -cancelled, 0) == {sold.own[0]: -cancelled}


@any_times
@given(sales(), st.integers(1, 50), st.data())
def test_restocked_units_go_to_shard_0_and_can_be_sold_in_the_same_group(
    sold: Sold, restocked: int, data: st.DataObject
) -> None:
    bought = data.draw(st.integers(0, sum(sold.stocks) + restocked), label="bought")

    taken = change_stock(sold.stocks, sold.own, bought - restocked, restocked)

    assert RESTOCKED in taken
    assert sum(taken.values()) == bought - restocked
    assert all(stock >= taken.get(shard, 0) for shard, stock in enumerate(sold.stocks))
    if not bought and sold.own[0] != RESTOCKED:
        assert taken[RESTOCKED] == -restocked


@any_times
@given(sales(least=1), st.data())
def test_units_that_are_taken_back_come_from_any_shard_and_shard_0_is_written(sold: Sold, data: st.DataObject) -> None:
    taken_back = data.draw(st.integers(1, sold.units), label="taken back")

    taken = change_stock(sold.stocks, sold.own, sold.units, -taken_back)

    assert RESTOCKED in taken
    assert sum(taken.values()) == sold.units
    assert all(stock >= taken.get(shard, 0) for shard, stock in enumerate(sold.stocks))


@any_times
@given(st.integers(0, 10_000), st.integers(1, MAX_SHARDS))
def test_a_stock_is_split_as_evenly_as_it_can_be(stock: int, shards: int) -> None:
    split = split_stock(stock, shards)

    assert (len(split), sum(split)) == (shards, stock)
    assert max(split) - min(split) <= 1
    assert split == sorted(split, reverse=True), "the lowest shards have what is left over"

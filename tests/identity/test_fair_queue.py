"""The client that is served next, when more items wait than can be served."""

from typing import Any

import pytest

from api.identity.fair_queue import MAX_REMEMBERED, FairQueue, Usage


def filled(**items: int) -> FairQueue[int]:
    queue: FairQueue[int] = FairQueue()
    for client, number in items.items():
        for item in range(number):
            queue.push(client, item)
    return queue


def order(queue: FairQueue[int], pops: int) -> list[str]:
    return [queue.pop(1.0)[0] for _ in range(pops)]


def test_a_client_with_many_items_does_not_keep_another_waiting() -> None:
    queue = filled(many=100, few=3)

    assert order(queue, 6) == ["many", "few"] * 3
    assert order(queue, 97) == ["many"] * 97
    assert (len(queue), queue.clients) == (0, 0)


def test_the_items_of_a_client_keep_their_order() -> None:
    queue = filled(a=3, b=3)

    popped = [queue.pop(1.0) for _ in range(6)]

    assert [item for client, item in popped if client == "a"] == [0, 1, 2]
    assert [item for client, item in popped if client == "b"] == [0, 1, 2]


def test_a_client_that_is_charged_while_it_waits_comes_later() -> None:
    queue = filled(dear=10, cheap=10)
    assert order(queue, 2) == ["dear", "cheap"]

    queue.charge("dear", 5.0)

    assert order(queue, 5) == ["cheap"] * 5
    assert set(order(queue, 2)) == {"cheap", "dear"}


def test_a_client_cannot_save_up_its_share_by_staying_away() -> None:
    queue = filled(busy=100)
    order(queue, 50)

    for item in range(50):
        queue.push("late", item)

    assert order(queue, 10).count("late") == 5


def test_a_client_that_leaves_the_queue_still_owes_what_it_used() -> None:
    queue = filled(dear=1, other=3)
    order(queue, 1)
    queue.charge("dear", 2.0)

    queue.push("dear", 1)

    assert order(queue, 4) == ["other"] * 3 + ["dear"]


@pytest.mark.parametrize("taken", range(1, 10))
def test_items_that_are_put_back_come_out_in_the_same_order(taken: int) -> None:
    def queue() -> FairQueue[int]:
        return filled(a=3, b=1, c=4, d=1)

    untouched, refilled = queue(), queue()
    for client, item in reversed([refilled.pop(1.0) for _ in range(taken)]):
        refilled.put_back(client, item, 1.0)

    assert [refilled.pop(1.0) for _ in range(9)] == [untouched.pop(1.0) for _ in range(9)]


def test_clients_that_owe_nothing_are_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(2 * MAX_REMEMBERED):
        queue.push(f"client {number}", 0)
        queue.pop(1.0)

    assert len(queue._usage._used) <= MAX_REMEMBERED


def test_popping_from_an_empty_queue_raises() -> None:
    with pytest.raises(IndexError):
        FairQueue[int]().pop(1.0)


class CountedQueue(FairQueue[int]):
    """A queue that counts the entries in its heap."""

    entries = 0

    def _enter(self, *arguments: Any) -> None:
        self.entries += 1
        super()._enter(*arguments)


def test_clients_that_wait_are_entered_once_while_another_queue_is_served() -> None:
    usage = Usage()
    waiting, going_on = CountedQueue(usage), FairQueue[int](usage)
    clients = [f"client {number}" for number in range(500)]
    for client in clients:
        waiting.push(client, 0)

    order = []
    for _ in clients:
        going_on.push("a busy client", 0)
        going_on.pop(1.0)
        order.append(waiting.pop()[0])

    assert order == clients
    assert waiting.entries == len(clients)


def served_before(queue: FairQueue[int], client: str) -> int:
    """Items that are served before one that the client adds now."""
    queue.push(client, -1)
    served = 0
    while queue.pop(1.0)[1] != -1:
        served += 1
    return served


@pytest.mark.parametrize(
    "items",
    [
        {},
        {"new": 3},
        {"flood": 1000},
        {"flood": 1000, "new": 1},
        {"flood": 1000, "few": 5, "new": 5},
        {"one": 1, "two": 1, "three": 1, "flood": 1000, "new": 10},
        {"one": 1, "two": 1, "three": 1, "new": 10},
    ],
)
def test_what_is_ahead_of_a_new_item_is_known_before_it_waits(items: dict[str, int]) -> None:
    queue = filled(**items)
    expected = queue.ahead("new")
    assert 0.8 * expected - 1 <= served_before(queue, "new") <= expected


def test_a_flood_puts_one_item_ahead_of_another_client() -> None:
    queue = filled(flood=10_000)
    assert queue.ahead("new") == 1
    assert queue.ahead("flood") == 10_000


def test_what_is_ahead_follows_every_way_in_and_out() -> None:
    queue = filled(flood=5, few=2, one=1, new=3)
    client, item = queue.pop(1.0)
    queue.put_back(client, item, 1.0)
    assert queue.ahead("new") == 11

    queue.drop_heads(lambda item: item == 0)
    assert (len(queue), queue.ahead("new")) == (7, 7)

    queue.push("few", 9, begun=True)
    assert queue.ahead("new") == 8

    queue.drop_heads(lambda _: True)
    assert queue.ahead("new") == 0

    queue = filled(flood=3)
    order(queue, 3)
    queue.push("other", 1)
    assert queue.ahead("flood") == 1

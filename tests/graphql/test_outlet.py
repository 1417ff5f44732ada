"""The outlet of a connection: the messages that a client gets when it reads, and when it does not."""

import asyncio

import pytest

from api.graphql.outlet import MAX_WAITING, Outlet


class Connection:
    """Sends messages while `room` is set, and waits for it otherwise."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.room = asyncio.Event()
        self.room.set()
        self.lost = False

    async def send(self, message: str) -> None:
        await self.room.wait()
        if self.lost:
            raise ConnectionResetError
        self.sent.append(message)


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def outlet(connection: Connection) -> Outlet[str]:
    return Outlet(connection.send)


def test_a_client_that_reads_is_sent_each_message_at_once(connection: Connection, outlet: Outlet[str]) -> None:
    for number in range(3):
        outlet.put("1", "tee", f"tee {number}")
        assert connection.sent[-1] == f"tee {number}"  # before any other task has run


async def test_a_client_that_does_not_read_skips_to_the_latest_message(
    connection: Connection, outlet: Outlet[str]
) -> None:
    """One message waits for each subject of each operation."""
    connection.room.clear()
    outlet.put("1", "tee", "tee 0")  # which is being sent already
    for number in range(1, 1_000):
        outlet.put("1", "tee", f"tee {number}")
        outlet.put("1", "cap", f"cap {number}")
        outlet.put("2", "tee", f"again {number}")
    assert connection.sent == []

    connection.room.set()
    await outlet.flush()

    assert connection.sent == ["tee 0", "tee 999", "cap 999", "again 999"]
    outlet.put("1", "tee", "tee 1000")
    assert connection.sent[-1] == "tee 1000"  # at once again


async def test_messages_are_sent_in_the_order_of_their_subjects(connection: Connection, outlet: Outlet[str]) -> None:
    connection.room.clear()
    for subject in ("tee", "cap", "end"):
        outlet.put("1", subject, subject)
    outlet.put("1", "cap", "cap again")

    connection.room.set()
    await outlet.flush()

    assert connection.sent == ["tee", "cap again", "end"]


async def test_a_dropped_operation_gets_no_more_messages(connection: Connection, outlet: Outlet[str]) -> None:
    connection.room.clear()
    for operation_id in ("0", "1", "2"):
        outlet.put(operation_id, "tee", operation_id)

    outlet.drop("1")
    connection.room.set()
    await outlet.flush()

    assert connection.sent == ["0", "2"]


async def test_a_closed_outlet_sends_no_more_messages(connection: Connection, outlet: Outlet[str]) -> None:
    connection.room.clear()
    outlet.put("1", "tee", "tee")
    outlet.put("1", "cap", "cap")

    outlet.close()
    await outlet.flush()
    connection.room.set()
    await asyncio.sleep(0)

    assert connection.sent == []


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_lost_connection_raises_no_error(connection: Connection, outlet: Outlet[str], waiting: bool) -> None:
    if waiting:
        connection.room.clear()
        outlet.put("1", "tee", "tee")
    connection.lost = True
    connection.room.set()

    outlet.put("1", "cap", "cap")
    await outlet.flush()
    outlet.put("1", "cap", "cap")

    assert connection.sent == []


async def test_messages_without_a_subject_all_wait_for_a_slow_reader(
    connection: Connection, outlet: Outlet[str]
) -> None:
    connection.room.clear()
    for number in range(4):
        assert outlet.put("1", None, f"event {number}")
        assert outlet.put("1", "tee", f"tee {number}")

    connection.room.set()
    await outlet.flush()

    assert connection.sent == ["event 0", "tee 3", "event 1", "event 2", "event 3"]


async def test_a_reader_that_stopped_costs_a_bounded_number_of_messages(
    connection: Connection, outlet: Outlet[str]
) -> None:
    connection.room.clear()
    outlet.put("1", None, "event 0")  # which is being sent already
    put = [outlet.put("1", None, f"event {number}") for number in range(1, 2 * MAX_WAITING)]
    assert put == [True] * MAX_WAITING + [False] * (MAX_WAITING - 1)
    assert outlet.put("1", "end", "the end"), "a message with a subject always has its slot"

    connection.room.set()
    await outlet.flush()

    assert connection.sent == [*(f"event {number}" for number in range(MAX_WAITING + 1)), "the end"]

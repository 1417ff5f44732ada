"""The outbox of a connection: the messages that a client gets when it reads, and when it does not."""

import asyncio

import pytest

from api.graphql.outbox import MAX_WAITING, Outbox


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
def outbox(connection: Connection) -> Outbox[str]:
    return Outbox(connection.send)


def test_a_client_that_reads_is_sent_each_message_at_once(connection: Connection, outbox: Outbox[str]) -> None:
    for number in range(3):
        outbox.put("1", "tee", f"tee {number}")
        assert connection.sent[-1] == f"tee {number}"  # before any other task has run


async def test_a_client_that_does_not_read_skips_to_the_latest_message(
    connection: Connection, outbox: Outbox[str]
) -> None:
    """One message waits for each subject of each operation."""
    connection.room.clear()
    outbox.put("1", "tee", "tee 0")  # which is being sent already
    for number in range(1, 1_000):
        outbox.put("1", "tee", f"tee {number}")
        outbox.put("1", "cap", f"cap {number}")
        outbox.put("2", "tee", f"again {number}")
    assert connection.sent == []

    connection.room.set()
    await outbox.flush()

    assert connection.sent == ["tee 0", "tee 999", "cap 999", "again 999"]
    outbox.put("1", "tee", "tee 1000")
    assert connection.sent[-1] == "tee 1000"  # at once again


async def test_messages_are_sent_in_the_order_of_their_subjects(connection: Connection, outbox: Outbox[str]) -> None:
    connection.room.clear()
    for subject in ("tee", "cap", "end"):
        outbox.put("1", subject, subject)
    outbox.put("1", "cap", "cap again")

    connection.room.set()
    await outbox.flush()

    assert connection.sent == ["tee", "cap again", "end"]


async def test_a_dropped_operation_gets_no_more_messages(connection: Connection, outbox: Outbox[str]) -> None:
    connection.room.clear()
    for operation_id in ("0", "1", "2"):
        outbox.put(operation_id, "tee", operation_id)

    outbox.drop("1")
    connection.room.set()
    await outbox.flush()

    assert connection.sent == ["0", "2"]


async def test_a_closed_outbox_sends_no_more_messages(connection: Connection, outbox: Outbox[str]) -> None:
    connection.room.clear()
    outbox.put("1", "tee", "tee")
    outbox.put("1", "cap", "cap")

    outbox.close()
    await outbox.flush()
    connection.room.set()
    await asyncio.sleep(0)

    assert connection.sent == []


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_lost_connection_raises_no_error(connection: Connection, outbox: Outbox[str], waiting: bool) -> None:
    if waiting:
        connection.room.clear()
        outbox.put("1", "tee", "tee")
    connection.lost = True
    connection.room.set()

    outbox.put("1", "cap", "cap")
    await outbox.flush()
    outbox.put("1", "cap", "cap")

    assert connection.sent == []


async def test_messages_without_a_subject_all_wait_for_a_slow_reader(
    connection: Connection, outbox: Outbox[str]
) -> None:
    connection.room.clear()
    for number in range(4):
        assert outbox.put("1", None, f"event {number}")
        assert outbox.put("1", "tee", f"tee {number}")

    connection.room.set()
    await outbox.flush()

    assert connection.sent == ["event 0", "tee 3", "event 1", "event 2", "event 3"]


async def test_a_reader_that_stopped_costs_a_bounded_number_of_messages(
    connection: Connection, outbox: Outbox[str]
) -> None:
    connection.room.clear()
    outbox.put("1", None, "event 0")  # which is being sent already
    put = [outbox.put("1", None, f"event {number}") for number in range(1, 2 * MAX_WAITING)]
    assert put == [True] * MAX_WAITING + [False] * (MAX_WAITING - 1)
    assert outbox.put("1", "end", "the end"), "a message with a subject always has its slot"

    connection.room.set()
    await outbox.flush()

    assert connection.sent == [*(f"event {number}" for number in range(MAX_WAITING + 1)), "the end"]

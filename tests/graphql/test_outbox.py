"""The outbox of a connection: what a client is sent when it reads, and when it does not."""

import asyncio

import pytest

from api.graphql.outbox import Outbox


class Connection:
    """Takes messages while it has room, and then when it is given room again."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.room = asyncio.Event()
        self.room.set()
        self.lost = False

    async def send(self, message: str) -> None:
        await self.room.wait()
        if self.lost:
            raise ConnectionResetError
        self.taken.append(message)


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def outbox(connection: Connection) -> Outbox[str]:
    return Outbox(connection.send)


def test_a_client_that_reads_is_sent_each_message_at_once(connection: Connection, outbox: Outbox[str]) -> None:
    for number in range(3):
        outbox.put("1", "tee", f"tee {number}")
        assert connection.taken[-1] == f"tee {number}"  # before anybody else has had a turn


async def test_a_client_that_does_not_read_has_one_slot_per_subject_and_then_skips_to_the_latest(
    connection: Connection, outbox: Outbox[str]
) -> None:
    connection.room.clear()
    outbox.put("1", "tee", "tee 0")  # on its way already
    for number in range(1, 1_000):
        outbox.put("1", "tee", f"tee {number}")
        outbox.put("1", "cap", f"cap {number}")
        outbox.put("2", "tee", f"again {number}")
    assert connection.taken == []

    connection.room.set()
    await outbox.flush()

    assert connection.taken == ["tee 0", "tee 999", "cap 999", "again 999"]
    outbox.put("1", "tee", "tee 1000")
    assert connection.taken[-1] == "tee 1000"  # at once again


async def test_what_comes_last_is_sent_last(connection: Connection, outbox: Outbox[str]) -> None:
    connection.room.clear()
    for subject in ("tee", "cap", "end"):
        outbox.put("1", subject, subject)
    outbox.put("1", "cap", "cap again")

    connection.room.set()
    await outbox.flush()

    assert connection.taken == ["tee", "cap again", "end"]


async def test_an_operation_that_is_over_is_sent_nothing_more(connection: Connection, outbox: Outbox[str]) -> None:
    connection.room.clear()
    for operation_id in ("0", "1", "2"):
        outbox.put(operation_id, "tee", operation_id)

    outbox.drop("1")
    connection.room.set()
    await outbox.flush()

    assert connection.taken == ["0", "2"]


async def test_a_closed_outbox_sends_nothing_more(connection: Connection, outbox: Outbox[str]) -> None:
    connection.room.clear()
    outbox.put("1", "tee", "tee")
    outbox.put("1", "cap", "cap")

    outbox.close()
    await outbox.flush()
    connection.room.set()
    await asyncio.sleep(0)

    assert connection.taken == []


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_connection_that_is_lost_is_nobodys_error(
    connection: Connection, outbox: Outbox[str], waiting: bool
) -> None:
    if waiting:
        connection.room.clear()
        outbox.put("1", "tee", "tee")
    connection.lost = True
    connection.room.set()

    outbox.put("1", "cap", "cap")
    await outbox.flush()
    outbox.put("1", "cap", "cap")

    assert connection.taken == []

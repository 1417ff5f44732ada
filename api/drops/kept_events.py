"""The events of a deployment that keeps them: everything that moves, reads, sends and deletes them in one process."""

from api.database.database import Database
from api.drops.event_log import EventLog
from api.drops.old_events import STEP, delete_old_events
from api.drops.parcels import Parcels
from api.drops.relay import Relay
from api.drops.retention import Retention
from api.drops.sending import Send, Sending


class KeptEvents:
    """From `start` to `close`, events are moved from the outbox, and sent where there is a webhook."""

    def __init__(self, database: Database, send: Send | None) -> None:
        """`send` sends an event to the webhook; None where there is none."""
        self._database = database
        self.log = EventLog(database)
        self.relay = Relay(database, self._moved)
        self.sending = None if send is None else Sending(Parcels(database), send)
        self._retention = Retention("events", self._delete_old)

    def start(self) -> None:
        self.relay.start()
        self._retention.start()
        if self.sending is not None:
            self.sending.start()

    async def close(self, grace: float) -> None:
        """Stop, within `grace` seconds for each. What was committed is moved; what was not sent is sent by other
        processes, or after the next start."""
        await self.relay.close(grace)
        await self._retention.close()
        await self.log.close()
        if self.sending is not None:
            await self.sending.close(grace)

    async def _delete_old(self) -> bool:
        return await delete_old_events(self._database, sends=self.sending is not None) == STEP

    def _moved(self) -> None:
        self.log.wake()
        if self.sending is not None:
            self.sending.wake()

"""The activity of a deployment that keeps it: everything that writes, reads and deletes it in one process."""

from collections.abc import Collection, Sequence
from uuid import UUID

from api.database.regions import Regions
from api.drops.activity import delete_old_activity
from api.drops.activity_feed import ActivityFeed
from api.drops.curve import ActivityPoint
from api.drops.gathering import Gathering
from api.drops.group_commit import GroupCommit
from api.drops.history import read_history
from api.drops.processes import Gauges, OwnProcess, delete_gone_processes
from api.drops.recorder import Recorder
from api.drops.retention import Retention
from api.identity.turns import Turns

MAX_HISTORIES = 4
"""Products whose histories are read one after the other before anybody gets one. A history takes 0.3 s of the
processor at most: 30,000 rows, on one of 2 shared cores."""

SHARE = 0.1
"""Share of the processor's time that reading histories may take while other work is waiting. A history of 30,000 rows
then takes 3 s."""


class KeptActivity:
    """From `start` to `close`, what this process answers is written, and old activity is deleted."""

    def __init__(self, regions: Regions, group_commits: Collection[GroupCommit]) -> None:
        self._regions = regions
        self._process = OwnProcess(regions, lambda: sum(commits.unanswered for commits in group_commits))
        self.recorder = Recorder(regions, lambda: (commits.tally for commits in group_commits), self._process)
        self.feed = ActivityFeed(regions)
        self._histories = Gathering(self._read_histories, max_keys=MAX_HISTORIES)
        self._turns = Turns(SHARE, SHARE, patience=None)
        self._retention = Retention("activity", self._delete_old)

    def start(self, gauges: Gauges) -> None:
        """`gauges`: what operators see of this process beyond its drops."""
        self._process.gauges = gauges
        self.recorder.start()
        self._retention.start()

    async def history(self, product_id: UUID) -> Sequence[ActivityPoint]:
        """See read_history. One history is read at a time, and those who wait for the same one share it."""
        return (await self._histories.get([product_id]))[product_id]

    async def close(self, grace: float) -> None:
        """Stop, when every purchase is answered. What was counted is written within `grace` seconds, or is lost."""
        await self.feed.close()
        await self._histories.close()
        await self._retention.close()
        await self.recorder.close(grace)

    async def _read_histories(self, product_ids: list[UUID]) -> dict[UUID, Sequence[ActivityPoint]]:
        return {each: await read_history(self._regions, each, turns=self._turns) for each in product_ids}

    async def _delete_old(self) -> bool:
        await delete_gone_processes(self._regions)
        return await delete_old_activity(self._regions)

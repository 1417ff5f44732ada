"""The activity of a deployment that keeps it: everything that writes, reads and deletes it in one process."""

from collections.abc import Collection

from api.database.regions import Regions
from api.drops.activity import delete_old_activity
from api.drops.activity_feed import ActivityFeed
from api.drops.group_commit import GroupCommit
from api.drops.processes import Gauges, OwnProcess, delete_gone_processes
from api.drops.recorder import Recorder
from api.drops.retention import Retention


class KeptActivity:
    """From `start` to `close`, what this process answers is written, and old activity is deleted."""

    def __init__(self, regions: Regions, group_commits: Collection[GroupCommit]) -> None:
        self._regions = regions
        self._process = OwnProcess(regions, lambda: sum(commits.unanswered for commits in group_commits))
        self.recorder = Recorder(regions, lambda: (commits.tally for commits in group_commits), self._process)
        self.feed = ActivityFeed(regions)
        self._retention = Retention("activity", self._delete_old)

    def start(self, gauges: Gauges) -> None:
        """`gauges`: what operators see of this process beyond its drops."""
        self._process.gauges = gauges
        self.recorder.start()
        self._retention.start()

    async def close(self, grace: float) -> None:
        """Stop, when every purchase is answered. What was counted is written within `grace` seconds, or is lost."""
        await self.feed.close()
        await self._retention.close()
        await self.recorder.close(grace)

    async def _delete_old(self) -> bool:
        await delete_gone_processes(self._regions)
        return await delete_old_activity(self._regions)

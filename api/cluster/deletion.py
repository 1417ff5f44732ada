"""Deletes clusters, peers together: the first of two waits in PENDING_DELETE until the second is deleted too."""

from collections.abc import Mapping, Sequence

from api.cluster.control_plane import LEAVING, Cluster, ControlPlane
from api.cluster.errors import ClusterError, Conflict, NotThere
from api.cluster.wait import Wait


def delete(planes: Mapping[str, ControlPlane], clusters: Sequence[Cluster], wait: Wait) -> None:
    """Remove the protection of the clusters, delete them, and wait until they are gone. Raises ClusterError.

    It may be run again at any time: it waits for clusters that are already being deleted.
    """
    for cluster in clusters:
        if cluster.protected and cluster.status not in LEAVING:
            planes[cluster.region].remove_protection(cluster.id)
            wait.log(f"{cluster.region} has taken the deletion protection off {cluster.id}")
    refusal = ""
    left = list(clusters)
    while True:
        for cluster in left:
            if cluster.status not in LEAVING:
                # A cluster that is still changing refuses; the next round tries again.
                try:
                    planes[cluster.region].delete(cluster.id)
                except Conflict as conflict:
                    refusal = f"; {conflict}"
                except NotThere:
                    pass  # it has gone since it was read
        left = [now for cluster in left if (now := _reread(planes[cluster.region], cluster, wait)) is not None]
        if not left:
            return
        statuses = wait.report(left)
        if not wait.pause():
            raise ClusterError(
                f"not gone after {wait.elapsed:.0f} s: {statuses}; run the same command again to go on waiting{refusal}"
            )


def _reread(plane: ControlPlane, cluster: Cluster, wait: Wait) -> Cluster | None:
    """The cluster as it is now; None, with a progress line, if it is gone."""
    now = plane.get(cluster.id)
    if now is None or now.status == "DELETED":
        wait.log(f"{cluster.region} has deleted {cluster.id}")
        return None
    return now

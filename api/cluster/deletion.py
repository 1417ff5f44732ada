"""Deleting clusters, peers together: the first of two waits in PENDING_DELETE until the second is deleted as well."""

from collections.abc import Mapping, Sequence

from api.cluster.control_plane import LEAVING, Cluster, ControlPlane
from api.cluster.errors import ClusterError, Conflict, NotThere
from api.cluster.wait import Wait


def delete(planes: Mapping[str, ControlPlane], clusters: Sequence[Cluster], wait: Wait) -> None:
    """Take their protection away, delete them all, and wait until they are gone. Raises ClusterError.

    May be run again at any time: what is gone is left alone, and what is being deleted is waited for.
    """
    for cluster in clusters:
        if cluster.protected and cluster.status not in LEAVING:
            planes[cluster.region].remove_protection(cluster.id)
            wait.tell(f"{cluster.region} has taken the deletion protection off {cluster.id}")
    refusal = ""
    left = list(clusters)
    while True:
        for cluster in left:
            if cluster.status not in LEAVING:
                # A cluster that is still changing refuses; it is asked again at the next look.
                try:
                    planes[cluster.region].delete(cluster.id)
                except Conflict as conflict:
                    refusal = f"; {conflict}"
                except NotThere:
                    pass  # gone since it was seen
        left = [now for cluster in left if (now := _look(planes[cluster.region], cluster, wait)) is not None]
        if not left:
            return
        statuses = wait.report(left)
        if not wait.pause():
            raise ClusterError(
                f"not gone after {wait.elapsed:.0f} s: {statuses}; run the same command again to go on waiting{refusal}"
            )


def _look(plane: ControlPlane, cluster: Cluster, wait: Wait) -> Cluster | None:
    now = plane.get(cluster.id)
    if now is None or now.status == "DELETED":
        wait.tell(f"{cluster.region} has deleted {cluster.id}")
        return None
    return now

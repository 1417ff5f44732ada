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
    while True:
        left: list[Cluster] = []
        for cluster in clusters:
            plane = planes[cluster.region]
            now = plane.get(cluster.id)
            if now is None or now.status == "DELETED":
                wait.tell(f"{cluster.region} has deleted {cluster.id}")
                continue
            left.append(now)
            if now.status not in LEAVING:
                # A cluster that is still changing refuses; it is asked again at the next look.
                try:
                    plane.delete(cluster.id)
                except Conflict as conflict:
                    refusal = f"; {conflict}"
                except NotThere:
                    pass  # gone between the two calls
        if not left:
            return
        clusters = left
        statuses = wait.report(clusters)
        if not wait.pause():
            raise ClusterError(
                f"not gone after {wait.elapsed:.0f} s: {statuses}; run the same command again to go on waiting{refusal}"
            )

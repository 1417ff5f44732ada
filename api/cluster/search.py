"""Finding clusters by the name that `dropzero cluster create` gave them, in several Regions at once."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from api.cluster.control_plane import Cluster, ControlPlane
from api.cluster.errors import ClusterError

NAME_TAG = "dropzero:name"
"""The tag that a cluster is found by. Names that AWS makes itself say nothing, and idempotency tokens expire."""


@dataclass(frozen=True, slots=True)
class Found:
    """The clusters, by Region in the order asked, and what kept a Region from being looked at."""

    clusters: tuple[Cluster, ...]
    failures: tuple[ClusterError, ...]

    def complete(self) -> tuple[Cluster, ...]:
        """The clusters. Raises the first failure: a Region that could not be looked at may hold another."""
        for failure in self.failures:
            raise failure
        return self.clusters


def search(planes: Mapping[str, ControlPlane], name: str) -> Found:
    """All clusters of the name in the Regions given."""

    def look(plane: ControlPlane) -> list[Cluster] | ClusterError:
        try:
            return [cluster for cluster in plane.clusters() if cluster.tags.get(NAME_TAG) == name]
        except ClusterError as error:
            return error

    with ThreadPoolExecutor(max_workers=len(planes)) as pool:
        results = list(pool.map(look, planes.values()))
    clusters: list[Cluster] = []
    failures: list[ClusterError] = []
    for result in results:
        if isinstance(result, ClusterError):
            failures.append(result)
        else:
            clusters += result
    return Found(tuple(clusters), tuple(failures))

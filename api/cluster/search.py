"""Finds clusters in several Regions at once, by the name that `dropzero cluster create` gave them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from api.cluster.control_plane import Cluster, ControlPlane
from api.cluster.errors import ClusterError

NAME_TAG = "dropzero:name"
"""The tag by which a cluster is found. The names that AWS gives mean nothing, and idempotency tokens expire."""


@dataclass(frozen=True, slots=True)
class Found:
    """The clusters, in the order of the Regions, and the error of each Region that could not be searched."""

    clusters: tuple[Cluster, ...]
    failures: tuple[ClusterError, ...]

    def complete(self) -> tuple[Cluster, ...]:
        """Return the clusters. Raises the first failure: a Region that could not be searched may have more."""
        for failure in self.failures:
            raise failure
        return self.clusters


def search(planes: Mapping[str, ControlPlane], name: str) -> Found:
    """Find all clusters with the name in the Regions of `planes`."""

    def find(plane: ControlPlane) -> list[Cluster] | ClusterError:
        try:
            return [cluster for cluster in plane.clusters() if cluster.tags.get(NAME_TAG) == name]
        except ClusterError as error:
            return error

    with ThreadPoolExecutor(max_workers=len(planes)) as pool:
        results = list(pool.map(find, planes.values()))
    clusters: list[Cluster] = []
    failures: list[ClusterError] = []
    for result in results:
        if isinstance(result, ClusterError):
            failures.append(result)
        else:
            clusters += result
    return Found(tuple(clusters), tuple(failures))

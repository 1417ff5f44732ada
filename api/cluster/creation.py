"""Creates a cluster, or two peers with a witness. A run that is interrupted can be continued by running it again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid5

from api.cluster.control_plane import LEAVING, READY, Cluster, ControlPlane
from api.cluster.errors import ClusterError
from api.cluster.regions import Placement
from api.cluster.search import NAME_TAG, search
from api.cluster.wait import Wait

_TOKENS = UUID("6d0f0f9e-6f0e-4c55-9d3c-1f0f6f2b7a10")
"""The UUID namespace of the idempotency tokens."""

_GENERATIONS = 5
"""Tokens to try. The earlier ones may belong to clusters that were deleted."""

_READS = 6
"""Reads of a new cluster at most: AWS may not return it at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to create. `tags` come beside the tag that holds the name."""

    name: str
    placement: Placement
    tags: Mapping[str, str]
    protected: bool


def create(planes: Mapping[str, ControlPlane], wanted: Wanted, wait: Wait) -> list[Cluster]:
    """Create the clusters, wait until they accept connections, and return them in the order of their Regions.

    A cluster that already exists, by its name, is kept and used. Raises ClusterError.
    """
    clusters = _existing(planes, wanted)
    for cluster in clusters.values():
        wait.log(f"{cluster.region} has {cluster.id} already")
    linked = {region: set(cluster.peers) for region, cluster in clusters.items()}
    for region in wanted.placement.regions:
        if region not in clusters:
            peers = [cluster.arn for cluster in clusters.values()]
            clusters[region] = _create_one(planes[region], wanted, peers, wait)
            linked[region] = {*peers, *clusters[region].peers}
            wait.log(f"{region} creates {clusters[region].id}")
    if wanted.placement.witness is not None:
        for region, cluster in clusters.items():
            peers = [other.arn for other in clusters.values() if other is not cluster]
            if not linked[region].issuperset(peers):
                planes[region].add_peers(cluster.id, wanted.placement.witness, peers)
    return _until_ready(planes, [clusters[region] for region in wanted.placement.regions], wait)


def _existing(planes: Mapping[str, ControlPlane], wanted: Wanted) -> dict[str, Cluster]:
    """The clusters of an earlier run, by Region. Raises ClusterError if one differs from what is wanted now."""
    clusters: dict[str, Cluster] = {}
    for cluster in search(planes, wanted.name).complete():
        if cluster.region in clusters:
            raise ClusterError(
                f"there are two clusters named {wanted.name} in {cluster.region}, {clusters[cluster.region].id} and "
                f"{cluster.id}; delete one with `dropzero cluster delete --region {cluster.region} --id ID`"
            )
        clusters[cluster.region] = cluster
    for cluster in clusters.values():
        _check_status(cluster)
        _check_fit(cluster, clusters, wanted)
    return clusters


def _check_fit(cluster: Cluster, clusters: Mapping[str, Cluster], wanted: Wanted) -> None:
    this = f"{cluster.id} in {cluster.region} is named {wanted.name} already"
    instead = "choose another --name, or delete it with `dropzero cluster delete`"
    if cluster.witness != wanted.placement.witness:
        has = "is in one Region only" if cluster.witness is None else f"has the witness {cluster.witness}"
        raise ClusterError(f"{this} and {has}, which cannot be changed; {instead}")
    others = {other.arn for other in clusters.values() if other is not cluster}
    if not others.issuperset(cluster.peers):
        raise ClusterError(f"{this} and has another peer, {', '.join(set(cluster.peers) - others)}; {instead}")
    if wanted.placement.witness is not None and cluster.status in READY and not cluster.peers:
        raise ClusterError(f"{this} and was set up without a peer; {instead}")


def _check_status(cluster: Cluster) -> None:
    if cluster.status == "FAILED":
        raise ClusterError(
            f"{cluster.id} in {cluster.region} has FAILED; delete it with `dropzero cluster delete "
            f"--region {cluster.region} --id {cluster.id}` and run this again"
        )
    if cluster.status in LEAVING:
        raise ClusterError(
            f"{cluster.id} in {cluster.region} is being deleted ({cluster.status}); wait until it is gone, as "
            "`dropzero cluster delete` does, or choose another --name"
        )


def _create_one(plane: ControlPlane, wanted: Wanted, peers: list[str], wait: Wait) -> Cluster:
    """Create a cluster that was not found by its name. Returns an existing one if it is too new to be listed.

    The token is made from the whole request, so that the same request, in this run or the next, returns the same
    cluster. If that cluster has been deleted since, its token is useless, and the next generation makes another one.
    """
    # AWS's console shows the tag Name.
    tags = {"Name": wanted.name, **wanted.tags, NAME_TAG: wanted.name}
    placement = wanted.placement
    for generation in range(_GENERATIONS):
        request = [plane.region, placement.regions, placement.witness, peers, sorted(tags.items()), wanted.protected]
        token = str(uuid5(_TOKENS, json.dumps([*request, generation])))
        cluster_id = plane.create(
            token=token, witness=placement.witness, peers=peers, tags=tags, protected=wanted.protected
        )
        cluster = _read_new(plane, cluster_id, wait)
        if cluster is not None and cluster.status not in LEAVING:
            return cluster
    raise ClusterError(
        f"AWS keeps answering with clusters in {plane.region} that were deleted; try again in an hour, or with another "
        "--name"
    )


def _read_new(plane: ControlPlane, cluster_id: str, wait: Wait) -> Cluster | None:
    """A new cluster, which AWS may not return at once; None if it does not in time."""
    for _ in range(_READS):
        cluster = plane.get(cluster_id)
        if cluster is not None or not wait.pause():
            return cluster
    return None


def _until_ready(planes: Mapping[str, ControlPlane], clusters: list[Cluster], wait: Wait) -> list[Cluster]:
    while True:
        clusters = [_read(planes[cluster.region], cluster) for cluster in clusters]
        statuses = wait.report(clusters)
        for cluster in clusters:
            _check_status(cluster)
        if all(cluster.status in READY for cluster in clusters):
            _check_peered(clusters)
            return clusters
        if not wait.pause():
            raise ClusterError(
                f"not ready after {wait.elapsed:.0f} s: {statuses}; run the same command again to go on waiting"
            )


def _read(plane: ControlPlane, cluster: Cluster) -> Cluster:
    now = plane.get(cluster.id)
    if now is None:
        raise ClusterError(f"{cluster.id} in {cluster.region} was deleted meanwhile; run this again to make a new one")
    return now


def _check_peered(clusters: list[Cluster]) -> None:
    """Raise ClusterError if the clusters are not peers: two databases instead of one would sell every stock twice."""
    for cluster in clusters:
        if set(cluster.peers) != {other.arn for other in clusters if other is not cluster}:
            raise ClusterError(
                f"{cluster.id} in {cluster.region} is {cluster.status} without the peer that it was given: these are "
                "not one database; delete them with `dropzero cluster delete` and create them again"
            )

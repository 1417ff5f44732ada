"""Making a cluster: one, or two peers with a witness. A run that was cut off is gone on with by the next one."""

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
"""The namespace of idempotency tokens."""

_GENERATIONS = 5
"""Tokens to try, where earlier ones belong to clusters that were deleted since."""

_LOOKS = 6
"""For a cluster that AWS has just made, which may take a moment to be seen."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made. `tags` beside the one that carries the name."""

    name: str
    placement: Placement
    tags: Mapping[str, str]
    protected: bool


def create(planes: Mapping[str, ControlPlane], wanted: Wanted, wait: Wait) -> list[Cluster]:
    """The clusters, ready for connections, in the order of their Regions.

    Whatever of them is there already, by its name, is kept and used. Raises ClusterError.
    """
    clusters = _existing(planes, wanted)
    for cluster in clusters.values():
        wait.tell(f"{cluster.region} has {cluster.id} already")
    linked = {region: set(cluster.peers) for region, cluster in clusters.items()}
    for region in wanted.placement.regions:
        if region not in clusters:
            peers = [cluster.arn for cluster in clusters.values()]
            clusters[region] = _create_one(planes[region], wanted, peers, wait)
            linked[region] = {*peers, *clusters[region].peers}
            wait.tell(f"{region} creates {clusters[region].id}")
    if wanted.placement.witness is not None:
        for region, cluster in clusters.items():
            peers = [other.arn for other in clusters.values() if other is not cluster]
            if not linked[region].issuperset(peers):
                planes[region].add_peers(cluster.id, wanted.placement.witness, peers)
    return _until_ready(planes, [clusters[region] for region in wanted.placement.regions], wait)


def _existing(planes: Mapping[str, ControlPlane], wanted: Wanted) -> dict[str, Cluster]:
    """What an earlier run made, by Region. Raises ClusterError where it is not what is wanted now."""
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
    """A cluster that was not found by its name: new, or so new that it is not listed yet.

    The token is made from all that is asked for, so that asking again, whether in this run or in the next, finds the
    cluster. One whose cluster was deleted since is of no more use, and the next generation is taken.
    """
    # Name is what the console shows.
    tags = {"Name": wanted.name, **wanted.tags, NAME_TAG: wanted.name}
    placement = wanted.placement
    for generation in range(_GENERATIONS):
        asked = [plane.region, placement.regions, placement.witness, peers, sorted(tags.items()), wanted.protected]
        token = str(uuid5(_TOKENS, json.dumps([*asked, generation])))
        cluster_id = plane.create(
            token=token, witness=placement.witness, peers=peers, tags=tags, protected=wanted.protected
        )
        cluster = _seen(plane, cluster_id, wait)
        if cluster is not None and cluster.status not in LEAVING:
            return cluster
    raise ClusterError(
        f"AWS keeps answering with clusters in {plane.region} that were deleted; try again in an hour, or with another "
        "--name"
    )


def _seen(plane: ControlPlane, cluster_id: str, wait: Wait) -> Cluster | None:
    for _ in range(_LOOKS):
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
    """Two databases instead of one would sell every stock twice."""
    for cluster in clusters:
        if set(cluster.peers) != {other.arn for other in clusters if other is not cluster}:
            raise ClusterError(
                f"{cluster.id} in {cluster.region} is {cluster.status} without the peer that it was given: these are "
                "not one database; delete them with `dropzero cluster delete` and create them again"
            )

"""Aurora DSQL's control plane in one Region: its clusters listed, made, changed and deleted."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from api.cluster.aws_errors import explain, passes, wait_asked_for
from api.cluster.errors import NotThere
from api.database.backoff import Backoff

READY = frozenset({"ACTIVE", "IDLE", "INACTIVE"})
"""Statuses that take connections: an idle or inactive cluster wakes at the first one."""

LEAVING = frozenset({"DELETING", "DELETED", "PENDING_DELETE"})

_ATTEMPTS = 5
"""Of one call, while AWS throttles or cannot be reached: at most about 8 s of waiting, or what AWS asks for."""

_BACKOFF = Backoff(base=0.5, cap=8.0)
_LONGEST_WAIT = 20.0
"""Seconds, whatever AWS asks for."""

_ARN = re.compile(r"arn:(?P<partition>[^:]+):dsql:(?P<region>[^:]+):(?P<account>[^:]+):cluster/(?P<id>.+)")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as AWS shows it. `peers` are the ARNs of the others that are one database with it."""

    region: str
    id: str
    arn: str
    status: str
    endpoint: str
    peers: tuple[str, ...]
    witness: str | None
    protected: bool
    tags: Mapping[str, str]

    @property
    def account(self) -> str:
        return arn_part(self.arn, "account")


def arn_part(arn: str, part: str) -> str:
    """The `partition`, `region`, `account` or `id` of a cluster's ARN."""
    match = _ARN.fullmatch(arn)
    if match is None:
        raise ValueError(f"not the ARN of a cluster: {arn}")
    return match[part]


def boto3_client(region: str) -> Any:
    """A client of its own per Region. boto3 is imported here: it takes 150 ms, which no other command should pay."""
    import boto3
    from botocore.config import Config

    # Retries are made here, where they have one budget and can be tested.
    config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 1})
    return boto3.client("dsql", region_name=region, config=config)


@dataclass(frozen=True, slots=True)
class Aws:
    """What the commands need of the world: a client per Region, a clock in seconds, and a way to wait."""

    client: Callable[[str], Any] = boto3_client
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def control_plane(self, region: str) -> "ControlPlane":
        """Raises ClusterError when the AWS configuration cannot be used."""
        from botocore.exceptions import BotoCoreError

        try:
            return ControlPlane(region, self.client(region), self.sleep)
        except BotoCoreError as error:
            raise explain(error, "", region) from error


class ControlPlane:
    """Calls are retried while AWS throttles or cannot be reached; each raises ClusterError in words."""

    def __init__(self, region: str, client: Any, sleep: Callable[[float], None]) -> None:
        self.region = region
        self._client = client
        self._sleep = sleep

    def clusters(self) -> Iterator[Cluster]:
        """All of the account in this Region."""
        token: dict[str, str] = {}
        while True:
            page = self._call("ListClusters", maxResults=100, **token)
            for summary in page["clusters"]:
                cluster = self.get(summary["identifier"])
                if cluster is not None:
                    yield cluster
            if not page.get("nextToken"):
                return
            token = {"nextToken": page["nextToken"]}

    def get(self, cluster_id: str) -> Cluster | None:
        """None when there is no such cluster."""
        try:
            answer = self._call("GetCluster", identifier=cluster_id)
            tags = answer.get("tags")
            if tags is None:
                tags = self._call("ListTagsForResource", resourceArn=answer["arn"]).get("tags", {})
        except NotThere:
            return None
        return self._cluster(answer, tags)

    def create(
        self, *, token: str, witness: str | None, peers: list[str], tags: Mapping[str, str], protected: bool
    ) -> str:
        """The id of the new cluster, or of the one that the same token has made before."""
        peering = {} if witness is None else {"multiRegionProperties": _peering(witness, peers)}
        answer = self._call(
            "CreateCluster", clientToken=token, deletionProtectionEnabled=protected, tags=dict(tags), **peering
        )
        identifier: str = answer["identifier"]
        return identifier

    def add_peers(self, cluster_id: str, witness: str, peers: list[str]) -> None:
        self._call(
            "UpdateCluster",
            identifier=cluster_id,
            clientToken=str(uuid4()),
            multiRegionProperties=_peering(witness, peers),
        )

    def remove_protection(self, cluster_id: str) -> None:
        self._call("UpdateCluster", identifier=cluster_id, clientToken=str(uuid4()), deletionProtectionEnabled=False)

    def delete(self, cluster_id: str) -> None:
        """Ask for it; a cluster whose peer is not deleted yet waits in PENDING_DELETE. Raises Conflict, NotThere."""
        self._call("DeleteCluster", identifier=cluster_id, clientToken=str(uuid4()))

    def _cluster(self, answer: dict[str, Any], tags: Mapping[str, str]) -> Cluster:
        properties = answer.get("multiRegionProperties") or {}
        # AWS lists the cluster itself among its peers.
        peers = tuple(arn for arn in properties.get("clusters", ()) if arn != answer["arn"])
        return Cluster(
            region=self.region,
            id=answer["identifier"],
            arn=answer["arn"],
            status=answer["status"],
            endpoint=answer.get("endpoint") or f"{answer['identifier']}.dsql.{self.region}.on.aws",
            peers=peers,
            witness=properties.get("witnessRegion") or None,
            protected=answer["deletionProtectionEnabled"],
            tags=tags,
        )

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError

        call = getattr(self._client, xform_name(operation))
        attempt = 1
        while True:
            try:
                answer: dict[str, Any] = call(**arguments)
                return answer
            except (BotoCoreError, ClientError) as error:
                if attempt == _ATTEMPTS or not passes(error):
                    raise explain(error, operation, self.region) from error
                self._sleep(min(_LONGEST_WAIT, max(_BACKOFF.delay(attempt), wait_asked_for(error))))
                attempt += 1


def _peering(witness: str, peers: list[str]) -> dict[str, Any]:
    return {"witnessRegion": witness, "clusters": peers} if peers else {"witnessRegion": witness}

"""Aurora DSQL's control plane in one Region: lists, creates, changes and deletes its clusters."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from api.cluster.aws_errors import explain, is_temporary, retry_after
from api.cluster.errors import NotThere
from api.database.backoff import Backoff

READY = frozenset({"ACTIVE", "IDLE", "INACTIVE"})
"""Statuses in which a cluster accepts connections. The first one wakes an idle or inactive cluster."""

LEAVING = frozenset({"DELETING", "DELETED", "PENDING_DELETE"})
"""Statuses of a cluster that is being deleted, or has been."""

_ATTEMPTS = 5
"""Tries of one call while AWS throttles or cannot be reached. They wait about 8 s at most, unless AWS wants longer."""

_BACKOFF = Backoff(base=0.5, cap=8.0)
_LONGEST_WAIT = 20.0
"""Seconds to wait before a try at most, even if AWS wants longer."""

_ARN = re.compile(r"arn:(?P<partition>[^:]+):dsql:(?P<region>[^:]+):(?P<account>[^:]+):cluster/(?P<id>.+)")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as AWS describes it. `peers` are the ARNs of the clusters that are one database with it."""

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
    """Return a new client for the Region. The import of boto3 is here because it takes 150 ms."""
    import boto3
    from botocore.config import Config

    # ControlPlane retries, so that retries have one budget and can be tested.
    config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 1})
    return boto3.client("dsql", region_name=region, config=config)


@dataclass(frozen=True, slots=True)
class Aws:
    """What the commands use of the outside world: a client per Region, a clock in seconds, and a sleep."""

    client: Callable[[str], Any] = boto3_client
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def control_plane(self, region: str) -> "ControlPlane":
        """The control plane of a Region. Raises ClusterError when the AWS configuration cannot be used."""
        from botocore.exceptions import BotoCoreError

        try:
            return ControlPlane(region, self.client(region), self.sleep)
        except BotoCoreError as error:
            raise explain(error, "", region) from error


class ControlPlane:
    """Each method retries its calls while AWS throttles or cannot be reached, and raises ClusterError."""

    def __init__(self, region: str, client: Any, sleep: Callable[[float], None]) -> None:
        self.region = region
        self._client = client
        self._sleep = sleep

    def clusters(self) -> Iterator[Cluster]:
        """All clusters of the account in this Region."""
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
        """The cluster, or None if there is no such cluster."""
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
        """Create a cluster and return its id. With a token that was used before, return the id of that cluster."""
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
        """Start the deletion. The first of two peers then waits in PENDING_DELETE. Raises Conflict, NotThere."""
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
                if attempt == _ATTEMPTS or not is_temporary(error):
                    raise explain(error, operation, self.region) from error
                self._sleep(min(_LONGEST_WAIT, max(_BACKOFF.delay(attempt), retry_after(error))))
                attempt += 1


def _peering(witness: str, peers: list[str]) -> dict[str, Any]:
    return {"witnessRegion": witness, "clusters": peers} if peers else {"witnessRegion": witness}

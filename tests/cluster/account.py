"""An AWS account with Aurora DSQL in it, and `dropzero cluster` before it.

The clients are boto3's own. botocore's Stubber takes the place of the network, and checks every call and every answer
against the service's model. The answers come from the state kept here, which follows AWS's documentation of clusters.
Time is a number that only waiting increases.
"""

import functools
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import typer
from botocore.stub import Stubber
from typer.testing import CliRunner

from api.cluster.cli import cluster_app
from api.cluster.control_plane import Aws
from api.cluster.errors import ClusterError
from tests.command import Run

ACCOUNT_ID = "123456789012"
SETTING_UP = 20.0
"""Seconds from CREATING to ACTIVE."""
TEARING_DOWN = 10.0
"""Seconds from DELETING to nothing."""


class Cut(BaseException):
    """Ends the run at this point, as a kill would."""


@dataclass
class Made:
    """A cluster of the account."""

    region: str
    id: str
    witness: str | None
    peers: list[str]
    protected: bool
    tags: dict[str, str]
    status: str
    until: float | None = None
    """When the status changes by itself."""
    unseen: int = 0
    """Reads that do not find it yet."""

    @property
    def arn(self) -> str:
        return f"arn:aws:dsql:{self.region}:{ACCOUNT_ID}:cluster/{self.id}"


@dataclass
class Refusal:
    """An error of AWS, instead of an answer."""

    code: str
    message: str = "as AWS says it"
    http: int = 400
    more: dict[str, Any] = field(default_factory=dict)


class _Stubbed:
    """The client of a Region, which `account` answers."""

    account: "Account"

    def __init__(self, region: str) -> None:
        self.client = boto3.client(
            "dsql", region_name=region, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="a-secret-key"
        )
        stubber = Stubber(self.client)

        def answer(params: dict[str, Any], model: Any, **_: Any) -> None:
            self.account._answer(stubber, region, model.name, params)

        # This runs before the stubber, which then finds the answer and checks it.
        self.client.meta.events.register_first("before-parameter-build.*.*", answer)
        stubber.activate()


_stubbed = functools.cache(_Stubbed)
"""One client per Region for all accounts, because creating a client takes longer than a command."""


@dataclass
class Account:
    """`calls` are the API's, as (Region, operation, arguments); `refusals` are answered first, in their order."""

    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    refusals: dict[tuple[str, str], list[Refusal | Exception]] = field(default_factory=dict)
    clusters: list[Made] = field(default_factory=list)
    cut_before: int | None = None
    """The number of the call that is never made."""
    cut_after: int | None = None
    """The number of the call whose answer is lost."""
    unseen: int = 0
    """Reads that do not find a new cluster yet."""
    unlisted: bool = False
    """New clusters are not listed yet."""
    tags_shown: bool = True
    """A cluster's answer carries its tags."""
    page: int = 100
    """Clusters in one answer."""
    now: float = 0.0
    naps: list[float] = field(default_factory=list)
    _tokens: dict[tuple[str, str], Made] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def client(self, region: str) -> Any:
        """A Region's client, which this account answers from now on."""
        stubbed = _stubbed(region)
        stubbed.account = self
        return stubbed.client

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds

    def refuse(self, region: str, operation: str, *refusals: Refusal | Exception) -> None:
        self.refusals[region, operation] = list(refusals)

    def run(self, *arguments: str, answer: str | None = None) -> Run:
        """Run `dropzero cluster` with the arguments. `answer` is typed when it asks."""
        app = typer.Typer(context_settings={"auto_envvar_prefix": "DROPZERO"})
        app.add_typer(cluster_app, name="cluster")

        @app.callback()
        def main() -> None: ...

        aws = Aws(self.client, lambda: self.now, self.sleep)
        result = CliRunner().invoke(app, ["cluster", *arguments], input=answer, obj=aws)
        if isinstance(result.exception, Cut):
            raise result.exception
        if isinstance(result.exception, ClusterError):
            # As main() of api.cli ends it.
            error = result.exception
            return Run(error.status, result.stdout, f"{result.stderr}dropzero: {' '.join(str(error).split())}\n")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Run(result.exit_code, result.stdout, result.stderr)

    def create(self, *arguments: str) -> Run:
        """Run `dropzero cluster create` for Tokyo and Seoul, whose witness is Osaka."""
        return self.run("create", "--region", "ap-northeast-1", "--region", "ap-northeast-2", *arguments)

    def asked(self, *operations: str) -> list[tuple[str, str, dict[str, Any]]]:
        """The calls of these operations."""
        return [call for call in self.calls if call[1] in operations]

    def made(self, region: str) -> Made:
        """The one cluster in a Region."""
        [cluster] = [cluster for cluster in self.clusters if cluster.region == region]
        return cluster

    def _answer(self, stubber: Stubber, region: str, operation: str, params: dict[str, Any]) -> None:
        number = len(self.calls) + 1
        if number == self.cut_before:
            raise Cut
        self.calls.append((region, operation, params))
        self._pass_time()
        method = {
            "CreateCluster": "create_cluster",
            "DeleteCluster": "delete_cluster",
            "GetCluster": "get_cluster",
            "ListClusters": "list_clusters",
            "ListTagsForResource": "list_tags_for_resource",
            "UpdateCluster": "update_cluster",
        }[operation]
        refusals = self.refusals.get((region, operation), [])
        answer = refusals.pop(0) if refusals else getattr(self, f"_{method}")(region, **params)
        if number == self.cut_after:
            raise Cut
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Refusal):
            stubber.add_client_error(
                method,
                answer.code,
                answer.message,
                answer.http,
                modeled_fields={"message": answer.message, **answer.more} if answer.more else None,
            )
        else:
            stubber.add_response(method, answer)

    def _pass_time(self) -> None:
        for cluster in list(self.clusters):
            if cluster.until is not None and self.now >= cluster.until:
                cluster.until = None
                if cluster.status == "DELETING":
                    self.clusters.remove(cluster)
                else:
                    cluster.status = "ACTIVE"

    def _create_cluster(self, region: str, **asked: Any) -> dict[str, Any]:
        token = (region, asked["clientToken"])
        if token not in self._tokens:
            peering = asked.get("multiRegionProperties", {})
            cluster = Made(
                region=region,
                id=f"cluster{next(self._numbers):019d}",
                witness=peering.get("witnessRegion"),
                peers=list(peering.get("clusters", [])),
                protected=asked["deletionProtectionEnabled"],
                tags=dict(asked["tags"]),
                status="PENDING_SETUP" if peering else "CREATING",
                until=None if peering else self.now + SETTING_UP,
                unseen=self.unseen,
            )
            self.clusters.append(cluster)
            self._tokens[token] = cluster
            self._link()
        return self._summary(self._tokens[token])

    def _get_cluster(self, region: str, identifier: str) -> dict[str, Any] | Refusal:
        cluster = self._find(region, identifier)
        if cluster is None:
            return self._not_there(identifier)
        if cluster.unseen:
            cluster.unseen -= 1
            return self._not_there(identifier)
        answer = {**self._summary(cluster), "endpoint": f"{cluster.id}.dsql.{region}.on.aws"}
        if self.tags_shown:
            answer["tags"] = cluster.tags
        if cluster.witness is not None:
            answer["multiRegionProperties"] = {
                "witnessRegion": cluster.witness,
                "clusters": [cluster.arn, *cluster.peers],
            }
        return answer

    def _list_clusters(self, region: str, maxResults: int, nextToken: str = "0") -> dict[str, Any]:  # noqa: N803
        listed = [] if self.unlisted else [cluster for cluster in self.clusters if cluster.region == region]
        begin = int(nextToken)
        end = begin + min(maxResults, self.page)
        page = [{"identifier": cluster.id, "arn": cluster.arn} for cluster in listed[begin:end]]
        return {"clusters": page, **({"nextToken": str(end)} if end < len(listed) else {})}

    def _list_tags_for_resource(self, region: str, resourceArn: str) -> dict[str, Any]:  # noqa: N803
        [cluster] = [cluster for cluster in self.clusters if cluster.arn == resourceArn]
        return {"tags": cluster.tags}

    def _update_cluster(self, region: str, identifier: str, **asked: Any) -> dict[str, Any] | Refusal:
        cluster = self._find(region, identifier)
        if cluster is None:
            return self._not_there(identifier)
        cluster.protected = asked.get("deletionProtectionEnabled", cluster.protected)
        if "multiRegionProperties" in asked:
            if cluster.status != "PENDING_SETUP":
                return Refusal("ConflictException", f"the cluster is {cluster.status}", 409)
            cluster.peers = asked["multiRegionProperties"]["clusters"]
            self._link()
        return {key: value for key, value in self._summary(cluster).items() if key != "deletionProtectionEnabled"}

    def _delete_cluster(self, region: str, identifier: str, clientToken: str) -> dict[str, Any] | Refusal:  # noqa: N803
        cluster = self._find(region, identifier)
        if cluster is None:
            return self._not_there(identifier)
        if cluster.protected:
            return Refusal("ValidationException", "protected", 400, {"reason": "deletionProtectionEnabled"})
        cluster.status = "PENDING_DELETE"
        together = [other for other in self.clusters if other is cluster or other.arn in cluster.peers]
        if all(other.status in ("PENDING_DELETE", "DELETING") for other in together):
            for other in together:
                other.status, other.until = "DELETING", self.now + TEARING_DOWN
        return {key: value for key, value in self._summary(cluster).items() if key != "deletionProtectionEnabled"}

    def _link(self) -> None:
        """Set up two clusters that name each other as peers."""
        for one, other in itertools.permutations(self.clusters, 2):
            if one.status == "PENDING_SETUP" and one.peers == [other.arn] and other.peers == [one.arn]:
                one.status, one.until = "CREATING", self.now + SETTING_UP
                other.status, other.until = "CREATING", self.now + SETTING_UP

    def _find(self, region: str, identifier: str) -> Made | None:
        return next((made for made in self.clusters if (made.region, made.id) == (region, identifier)), None)

    @staticmethod
    def _not_there(identifier: str) -> Refusal:
        return Refusal(
            "ResourceNotFoundException", "no such cluster", 404, {"resourceId": identifier, "resourceType": "cluster"}
        )

    @staticmethod
    def _summary(cluster: Made) -> dict[str, Any]:
        return {
            "identifier": cluster.id,
            "arn": cluster.arn,
            "status": cluster.status,
            "creationTime": datetime(2026, 11, 1, tzinfo=UTC),
            "deletionProtectionEnabled": cluster.protected,
        }

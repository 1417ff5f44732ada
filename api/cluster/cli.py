"""`dropzero cluster`: create, show and delete the clusters of Aurora DSQL that servers use as their database."""

import re
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from api import terminal
from api.cluster import access, creation, deletion
from api.cluster.control_plane import LEAVING, READY, Aws, Cluster, ControlPlane, arn_part
from api.cluster.errors import ClusterError, WrongUse
from api.cluster.regions import REGIONS, check_region, choose_placement
from api.cluster.search import NAME_TAG, search
from api.cluster.wait import Wait

cluster_app = typer.Typer(
    help="Create, show and delete clusters of Amazon Aurora DSQL, with your AWS credentials.", no_args_is_help=True
)

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_ID = re.compile(r"[a-z0-9]{26}")
_TAG_TEXT = re.compile(r"[a-zA-Z0-9_.:/=+\-@ ]*")

Name = Annotated[str, typer.Option(help="The name of the clusters, stored as a tag.")]
Id = Annotated[str | None, typer.Option("--id", help="One cluster by its id instead of its name; needs its --region.")]
Timeout = Annotated[int, typer.Option(min=1, max=7200, help="Seconds to wait for the clusters at most.")]
SearchedRegions = Annotated[
    list[str] | None, typer.Option("--region", help="A Region to search; may be repeated. All Regions by default.")
]


@cluster_app.command("create")
def create_command(
    context: typer.Context,
    region: Annotated[
        list[str], typer.Option(help="The cluster's Region. Give it twice for two peers; the first is home.")
    ],
    witness: Annotated[
        str | None, typer.Option(help="The third Region, for two peers. Chosen for you if only one is possible.")
    ] = None,
    name: Name = "dropzero",
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag of the clusters; may be repeated.")
    ] = None,
    deletion_protection: Annotated[
        bool,
        typer.Option("--deletion-protection/--no-deletion-protection", help="Protect the clusters from being deleted."),
    ] = True,
    timeout: Timeout = 900,
) -> None:
    """Create a cluster, or two peers in two Regions that are one database. If it was interrupted, run it again."""
    placement = choose_placement(region, witness)
    wanted = creation.Wanted(_checked_name(name), placement, _checked_tags(tag or []), deletion_protection)
    aws = _aws(context)
    planes = _planes(aws, placement.regions)
    if placement.witness is not None:
        _progress(f"{' and '.join(placement.regions)} become one database, with the witness {placement.witness}")
    clusters = creation.create(planes, wanted, Wait(aws, timeout, _progress))
    for cluster in clusters:
        if deletion_protection and not cluster.protected:
            _progress(f"note: {cluster.id} in {cluster.region} was made without deletion protection, and is left so")
    terminal.show(_cluster_table(clusters))
    terminal.write("")
    terminal.write(access.next_steps(clusters, f"{name}-server"))


@cluster_app.command("status")
def status_command(
    context: typer.Context, name: Name = "dropzero", region: SearchedRegions = None, identifier: Id = None
) -> None:
    """Show the clusters with a name. Exit status 1 unless they exist and all accept connections."""
    aws = _aws(context)
    planes = _planes(aws, _regions_to_search(region, identifier))
    if identifier is None:
        found = search(planes, _checked_name(name))
        if not found.clusters:
            found.complete()
            raise ClusterError(
                f"there is no cluster named {name} in {_listed(planes)}; make one with `dropzero cluster create`"
            )
        for failure in found.failures:
            terminal.write_error(f"{failure}")
        clusters = found.clusters
    else:
        clusters = _by_id(planes, identifier)
        if not clusters:
            raise ClusterError(f"there is no cluster {identifier} in {_listed(planes)}")
    terminal.show(_cluster_table(clusters))
    waiting = [f"{cluster.region} {cluster.status}" for cluster in clusters if cluster.status not in READY]
    if waiting:
        raise ClusterError(f"not ready: {', '.join(waiting)}")


@cluster_app.command("delete")
def delete_command(
    context: typer.Context,
    name: Name = "dropzero",
    region: SearchedRegions = None,
    identifier: Id = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking for the name first.")] = False,
    remove_protection: Annotated[
        bool, typer.Option("--remove-protection", help="Also delete clusters that are protected from it.")
    ] = False,
    timeout: Timeout = 900,
) -> None:
    """Delete clusters and their peers, with all their data. If it was interrupted, run it again."""
    aws = _aws(context)
    planes = _planes(aws, _regions_to_search(region, identifier))
    found = search(planes, _checked_name(name)).complete() if identifier is None else _by_id(planes, identifier)
    clusters = _with_peers(aws, planes, found)
    if not clusters:
        terminal.write(f"Nothing to delete: there is no cluster {identifier or name} in {_listed(planes)}.")
        return
    terminal.show(_cluster_table(clusters))
    protected = [cluster for cluster in clusters if cluster.protected and cluster.status not in LEAVING]
    if protected and not remove_protection:
        raise ClusterError(
            f"deletion protection is on for {', '.join(f'{cluster.id} in {cluster.region}' for cluster in protected)}; "
            "nothing was deleted; give --remove-protection to delete them with all that is in them"
        )
    if not yes:
        _confirm(identifier or name)
    deletion.delete(planes, clusters, Wait(aws, timeout, _progress))
    terminal.write(f"Deleted: {', '.join(f'{cluster.id} in {cluster.region}' for cluster in clusters)}.")


def _aws(context: typer.Context) -> Aws:
    return context.find_object(Aws) or Aws()


def _planes(aws: Aws, regions: Sequence[str]) -> dict[str, ControlPlane]:
    return {region: aws.control_plane(region) for region in regions}


def _by_id(planes: dict[str, ControlPlane], identifier: str) -> tuple[Cluster, ...]:
    [plane] = planes.values()
    cluster = plane.get(identifier)
    return () if cluster is None else (cluster,)


def _with_peers(aws: Aws, planes: dict[str, ControlPlane], clusters: Sequence[Cluster]) -> tuple[Cluster, ...]:
    """The clusters and their peers in all Regions: one database is deleted as a whole."""
    known = {cluster.arn: cluster for cluster in clusters}
    for arn in dict.fromkeys(peer for cluster in clusters for peer in cluster.peers):
        if arn not in known:
            region = arn_part(arn, "region")
            if region not in planes:
                planes[region] = aws.control_plane(region)
            peer = planes[region].get(arn_part(arn, "id"))
            if peer is not None:
                known[arn] = peer
    return tuple(known.values())


def _regions_to_search(regions: list[str] | None, identifier: str | None) -> tuple[str, ...]:
    for region in regions or ():
        check_region(region)
    if identifier is not None:
        if not _ID.fullmatch(identifier):
            raise WrongUse(f"{identifier!r} is not the id of a cluster; expected 26 lower-case letters and digits")
        if len(regions or ()) != 1:
            raise WrongUse("a cluster's id is unique in its Region only; give --id with one --region")
    return tuple(dict.fromkeys(regions)) if regions else REGIONS


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise WrongUse(
            f"{name!r} cannot be a cluster's name; expected up to 40 lower-case letters, digits and hyphens, the first "
            "a letter"
        )
    return name


def _checked_tags(texts: Sequence[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not 1 <= len(key) <= 128 or len(value) > 256 or not _TAG_TEXT.fullmatch(text):
            raise WrongUse(
                f"{text!r} cannot be a tag; expected KEY=VALUE, of at most 128 and 256 letters, digits, spaces and "
                "_.:/=+-@"
            )
        if key.lower().startswith("aws:") or key == NAME_TAG:
            raise WrongUse(f"the tag {key} is not yours to set; choose another key")
        if key in tags:
            raise WrongUse(f"the tag {key} is given twice")
        tags[key] = value
    return tags


def _confirm(name: str) -> None:
    try:
        typed = typer.prompt(f"Everything in it will be lost. Type {name} to delete it", err=True)
    except typer.Abort:
        _progress("")  # ends the line of the question
        raise WrongUse("nothing was deleted; type the name when asked, or give --yes") from None
    if typed != name:
        raise ClusterError(f"nothing was deleted: {typed!r} is not {name}")


def _progress(text: str) -> None:
    """Print progress to standard error, so that standard output has the result only."""
    typer.echo(text, err=True)


def _listed(planes: dict[str, ControlPlane]) -> str:
    return ", ".join(planes)


def _cluster_table(clusters: Sequence[Cluster]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in ("region", "id", "status", "endpoint", "peers", "witness", "protected", "tags"):
        table.add_column(header, overflow="fold", no_wrap=header == "id", min_width=len(header))
    for cluster in clusters:
        table.add_row(
            cluster.region,
            cluster.id,
            cluster.status,
            cluster.endpoint,
            ", ".join(arn_part(arn, "region") for arn in cluster.peers),
            cluster.witness or "",
            "yes" if cluster.protected else "no",
            ", ".join(f"{key}={value}" for key, value in sorted(cluster.tags.items())),
            style=None if cluster.status in READY else "yellow",
        )
    return table

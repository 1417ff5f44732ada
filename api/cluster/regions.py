"""Where a cluster can be: in one Region, or as two peers with a witness, all three in one Region set."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from api.cluster.errors import WrongUse

REGION_SETS = (
    {"us-east-1": "N. Virginia", "us-east-2": "Ohio", "us-west-2": "Oregon"},
    {"ap-northeast-1": "Tokyo", "ap-northeast-2": "Seoul", "ap-northeast-3": "Osaka"},
    {"eu-central-1": "Frankfurt", "eu-west-1": "Ireland", "eu-west-2": "London", "eu-west-3": "Paris"},
)
"""Peers and their witness come from one of these: Aurora DSQL User Guide, "Region availability"."""

REGIONS = tuple(region for regions in REGION_SETS for region in regions)

_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")


@dataclass(frozen=True, slots=True)
class Placement:
    """The Regions of a cluster: one without a witness, or two peers with one."""

    regions: tuple[str, ...]
    witness: str | None


def choose_placement(regions: Sequence[str], witness: str | None) -> Placement:
    """Check the Regions, and choose the witness if only one is possible. Raises WrongUse for what AWS would refuse."""
    for region in regions if witness is None else (*regions, witness):
        check_region(region)
    if len(regions) > 2:
        raise WrongUse(
            f"a cluster is in one Region or in two, not in {len(regions)}; the third is named with --witness"
        )
    if len(set(regions)) < len(regions):
        raise WrongUse(f"{regions[0]} is named twice; peers are in two different Regions")
    if len(regions) == 1:
        if witness is not None:
            raise WrongUse("a cluster in one Region has no witness; leave --witness out, or name a second --region")
        return Placement(tuple(regions), None)
    return Placement(tuple(regions), _witness(regions[0], regions[1], witness))


def check_region(region: str) -> None:
    """Raise WrongUse if this is not the name of a Region."""
    if not _REGION.fullmatch(region):
        raise WrongUse(f"{region!r} is not the name of a Region; expected one such as ap-northeast-1")


def _witness(first: str, second: str, witness: str | None) -> str:
    region_set = _set_of(first)
    if _set_of(second) is not region_set:
        raise WrongUse(
            f"{_city(first)} and {_city(second)} are in different Region sets, and peers and their witness must be in "
            f"the same one: {_all_sets()}"
        )
    choices = [region for region in region_set if region not in (first, second)]
    peers = f"{region_set[first]} and {region_set[second]}"
    if witness is None and len(choices) > 1:
        raise WrongUse(f"name the witness of {peers}: --witness {' or --witness '.join(choices)}")
    if witness in (first, second):
        raise WrongUse(f"the witness of {peers} must be a third Region: {' or '.join(choices)}")
    if witness is not None and witness not in choices:
        raise WrongUse(f"the witness of {peers} must be in the same Region set: {' or '.join(choices)}")
    return choices[0] if witness is None else witness


def _set_of(region: str) -> dict[str, str]:
    for regions in REGION_SETS:
        if region in regions:
            return regions
    raise WrongUse(
        f"{region} is in no Region set of Aurora DSQL; two peers and their witness are in one of {_all_sets()}"
    )


def _city(region: str) -> str:
    return f"{_set_of(region)[region]} ({region})"


def _all_sets() -> str:
    return "; ".join(", ".join(regions) for regions in REGION_SETS)

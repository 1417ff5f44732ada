"""Where clusters can be, and the table of Region sets compared with botocore's own."""

import boto3
import pytest
from botocore.loaders import Loader

from api.cluster.errors import WrongUse
from api.cluster.regions import REGION_SETS, Placement, choose_placement


@pytest.mark.parametrize(
    ("regions", "witness", "placement"),
    [
        (["ap-northeast-1"], None, (("ap-northeast-1",), None)),
        (["ca-central-1"], None, (("ca-central-1",), None)),
        (["ap-northeast-1", "ap-northeast-2"], None, (("ap-northeast-1", "ap-northeast-2"), "ap-northeast-3")),
        (["ap-northeast-3", "ap-northeast-2"], None, (("ap-northeast-3", "ap-northeast-2"), "ap-northeast-1")),
        (["us-east-2", "us-west-2"], "us-east-1", (("us-east-2", "us-west-2"), "us-east-1")),
        (["eu-west-1", "eu-central-1"], "eu-west-3", (("eu-west-1", "eu-central-1"), "eu-west-3")),
    ],
)
def test_the_witness_is_the_one_named_or_the_only_one_left(
    regions: list[str], witness: str | None, placement: tuple[tuple[str, ...], str | None]
) -> None:
    assert choose_placement(regions, witness) == Placement(*placement)


TOKYO_AND_SEOUL = ["ap-northeast-1", "ap-northeast-2"]


@pytest.mark.parametrize(
    ("regions", "witness", "complaint"),
    [
        (
            TOKYO_AND_SEOUL,
            "us-west-2",
            "the witness of Tokyo and Seoul must be in the same Region set: ap-northeast-3",
        ),
        (
            ["us-east-1", "us-west-2"],
            "eu-west-1",
            "the witness of N. Virginia and Oregon must be in the same Region set: us-east-2",
        ),
        (
            ["eu-west-1", "eu-west-2"],
            "us-east-1",
            "the witness of Ireland and London must be in the same Region set: eu-central-1 or eu-west-3",
        ),
        (
            ["eu-west-1", "eu-central-1"],
            None,
            "name the witness of Ireland and Frankfurt: --witness eu-west-2 or --witness eu-west-3",
        ),
        (TOKYO_AND_SEOUL, "ap-northeast-2", "the witness of Tokyo and Seoul must be a third Region: ap-northeast-3"),
        (TOKYO_AND_SEOUL, "us-west-9", "the witness of Tokyo and Seoul must be in the same Region set: ap-northeast-3"),
        (
            ["ap-northeast-1", "us-east-1"],
            None,
            "Tokyo (ap-northeast-1) and N. Virginia (us-east-1) are in different Region sets",
        ),
        (["ap-northeast-1", "sa-east-1"], None, "sa-east-1 is in no Region set of Aurora DSQL"),
        (["ap-northeast-1", "ap-northeast-1"], None, "ap-northeast-1 is named twice"),
        (["ap-northeast-1"], "ap-northeast-3", "a cluster in one Region has no witness"),
        ([*TOKYO_AND_SEOUL, "ap-northeast-3"], None, "the third is named with --witness"),
        (["tokyo"], None, "'tokyo' is not the name of a Region"),
        (TOKYO_AND_SEOUL, "", "'' is not the name of a Region"),
    ],
)
def test_what_aws_would_refuse_is_explained(regions: list[str], witness: str | None, complaint: str) -> None:
    with pytest.raises(WrongUse) as refused:
        choose_placement(regions, witness)
    assert complaint in str(refused.value)


def test_the_region_sets_are_regions_that_aws_knows_by_these_names() -> None:
    # botocore lists no Regions for dsql in particular; its partitions know every Region and its city.
    assert boto3.Session().get_available_regions("dsql") == []
    partitions = Loader().load_data("partitions")["partitions"]
    [known] = [partition["regions"] for partition in partitions if partition["id"] == "aws"]
    for regions in REGION_SETS:
        assert len(regions) >= 3, "two peers and a witness"
        for region, city in regions.items():
            assert f"({city})" in known[region]["description"]


def test_a_region_is_in_one_set_only() -> None:
    every = [region for regions in REGION_SETS for region in regions]
    assert len(every) == len(set(every)) == 10

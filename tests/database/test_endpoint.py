"""Reading DROPZERO_ENDPOINTS: what is refused, and that no message repeats a password."""

import pytest

from api.database.endpoint import Endpoint, parse_endpoints

SECRET = "hunter2"


def test_endpoints_keep_the_order_they_are_written_in() -> None:
    text = "us-east-2=postgresql://app@b.example/shop, us-east-1=postgres://app:pw@a.example:5433/shop?sslmode=require,"
    assert parse_endpoints(text) == (
        Endpoint("us-east-2", "postgresql://app@b.example/shop"),
        Endpoint("us-east-1", "postgres://app:pw@a.example:5433/shop?sslmode=require"),
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost",
        "postgresql://app@[::1]:5432/shop",
        "postgresql:///shop?host=/var/run/postgresql",
        "postgresql://app:p%2Cw%40@h.example/shop?application_name=a%2Cb",
        "postgresql://app:p=w@h.example/shop",
    ],
)
def test_a_url_that_can_be_used_is_kept_as_it_is(url: str) -> None:
    assert parse_endpoints(f"here={url}") == (Endpoint("here", url),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " , ,",
        "here",
        "here=",
        f"postgresql://app:{SECRET}@h.example/shop",
        f"postgresql://app:{SECRET}=@h.example/shop",
        f"=postgresql://app:{SECRET}@h.example/shop",
        f"US-EAST-1=postgresql://app:{SECRET}@h.example/shop",
        f"us east=postgresql://app:{SECRET}@h.example/shop",
        f"1st=postgresql://app:{SECRET}@h.example/shop",
        f"{'r' * 64}=postgresql://app:{SECRET}@h.example/shop",
        f"here=postgresql://app:12,{SECRET}@h.example/shop",
        f"here=postgresql://a:{SECRET}@h.example/shop;there=postgresql://a:{SECRET}@h.example/shop,there",
    ],
)
def test_what_is_no_list_of_endpoints_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^expected REGION=URL .* us-east-1=postgresql://user:password@host"
    ) as refusal:
        parse_endpoints(text)
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://app:{SECRET}@h.example/shop",
        f"https://app:{SECRET}@h.example/shop",
        f"app:{SECRET}@h.example/shop",
        f"{SECRET}:app@h.example/shop",
        f"//app:{SECRET}@h.example/shop",
        f"postgresql:app:{SECRET}@h.example/shop",
        f"postgresql://app:{SECRET}@/shop",
        f"postgresql://app:{SECRET}@h.example:70000/shop",
        f"postgresql://app:{SECRET}@h.example:0/shop",
        f"postgresql://app:{SECRET}@h.example:port/shop",
        f"postgresql://app:{SECRET}@[::1/shop",
        f"postgresql://app:a/{SECRET}@h.example/shop",
        f"postgresql://app:pw,{SECRET}@h.example/shop",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_by_its_regions_name(url: str) -> None:
    with pytest.raises(
        ValueError, match=r"^the URL of here cannot be used; expected something like postgresql"
    ) as refusal:
        parse_endpoints(f"here={url}")
    assert SECRET not in str(refusal.value)


def test_two_endpoints_of_one_region_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the Region here is named twice"):
        parse_endpoints("here=postgresql://a.example/shop,here=postgresql://b.example/shop")


def test_the_url_of_an_endpoint_stays_out_of_its_repr() -> None:
    assert repr(Endpoint("here", f"postgresql://app:{SECRET}@h.example/shop")) == "Endpoint(region='here')"

"""Reading DROPZERO_ENDPOINTS: which texts are refused, and that no message repeats a password."""

import pytest

from api.database.endpoint import DsqlAddress, Endpoint, parse_endpoints

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
def test_a_text_that_lists_no_endpoints_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^expected REGION=URL .* us-east-1=dsql://.* us-east-1=postgresql://user:password@host"
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
    with pytest.raises(ValueError, match=r"^the URL of here cannot be used; expected something like dsql") as refusal:
        parse_endpoints(f"here={url}")
    assert SECRET not in str(refusal.value)


def test_two_endpoints_of_one_region_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the Region here is named twice"):
        parse_endpoints("here=postgresql://a.example/shop,here=postgresql://b.example/shop")


def test_the_url_of_an_endpoint_stays_out_of_its_repr() -> None:
    assert repr(Endpoint("here", f"postgresql://app:{SECRET}@h.example/shop")) == "Endpoint(region='here')"


CLUSTER = "abcdefghijklmnopqrstuvwxyz"


def test_an_endpoint_of_aurora_dsql_is_read_with_its_defaults() -> None:
    [endpoint] = parse_endpoints(f"us-east-1=dsql://{CLUSTER}.dsql.us-east-1.on.aws")
    assert endpoint.dsql == DsqlAddress(f"{CLUSTER}.dsql.us-east-1.on.aws", 5432, "admin", "postgres", None)


def test_an_endpoint_of_aurora_dsql_is_read_whole() -> None:
    url = f"dsql://app@{CLUSTER}.dsql-fnh4.us-east-1.on.aws:5433/postgres?sslrootcert=/etc/ca.pem"
    [endpoint] = parse_endpoints(f"us-east-1={url}")
    assert endpoint.dsql == DsqlAddress(f"{CLUSTER}.dsql-fnh4.us-east-1.on.aws", 5433, "app", "postgres", "/etc/ca.pem")


def test_any_host_may_be_aurora_dsql_if_its_certificate_authority_is_named() -> None:
    [endpoint] = parse_endpoints("here=dsql://app@localhost:5433?sslrootcert=ca.pem")
    assert endpoint.dsql == DsqlAddress("localhost", 5433, "app", "postgres", "ca.pem")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("us-east-1=dsql://db.example", r"not an endpoint of Aurora DSQL; expected .* and \.dsql\.us-east-1\.on\.aws"),
        ("us-east-1=dsql://short.dsql.us-east-1.on.aws", "the 26 characters of the cluster's id"),
        (f"us-east-2=dsql://{CLUSTER}.dsql.us-east-1.on.aws", "is in us-east-1 by its host; name it us-east-1="),
        (f"us-east-1=dsql://app:hunter2@{CLUSTER}.dsql.us-east-1.on.aws", "leave the password out"),
        (f"us-east-1=dsql://{CLUSTER}.dsql.us-east-1.on.aws?sslmode=disable", "does not know"),
        (f"us-east-1=dsql://{CLUSTER}.dsql.us-east-1.on.aws,us-east-2=postgresql://app@h.example/shop", "not both"),
    ],
)
def test_what_is_not_an_endpoint_of_aurora_dsql_is_refused_with_what_to_do(entry: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        parse_endpoints(entry)
    assert "hunter2" not in str(refusal.value)

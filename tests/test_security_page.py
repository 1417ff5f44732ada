"""docs/security.md: its numbers and names are those of the code and of AWS's service models."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from botocore.model import StructureShape
from botocore.session import get_session

from api.graphql.errors import ErrorCode
from api.graphql.purchase import PurchaseStatus
from api.graphql.requests import MAX_BODY
from api.identity.refusals import INTERVAL
from api.identity.turns import LENGTH
from api.server import shutdown_timeout
from api.settings import Settings, read_settings
from api.storefront.guest_cookie import NAME as GUEST_COOKIE
from tests.links import dead_links
from tests.options import names_that_are_read

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGE = (DOCS / "security.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())

UNITS = {"": 1, " s": 1, " ms": 0.001, " %": 0.01, " KiB": 1024}


@dataclass(frozen=True)
class Bound:
    """A row of the page: the number, and the name and the file that define it."""

    number: float
    name: str
    file: str


@cache
def bounds() -> tuple[Bound, ...]:
    found = []
    for row in re.findall(r"^\| .*$", PAGE, re.M):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        for before, cell in pairwise(cells):
            if (source := re.match(r"`([A-Za-z_.]+)` in `(api/[a-z_/]+\.py)`", cell)) is not None:
                number = re.search(r"(\d[\d,]*)( ms| s| %| KiB)?(?![a-z])", before)
                assert number is not None, row
                found.append(Bound(int(number[1].replace(",", "")) * UNITS[number[2] or ""], source[1], source[2]))
    return tuple(found)


def defined(bound: Bound) -> float:
    """The value in the code: of a constant, or of a field of a class with defaults or of the settings."""
    module = import_module(bound.file.removesuffix(".py").replace("/", "."))
    name, _, field = bound.name.partition(".")
    value = getattr(module, name)
    if field:
        value = getattr(read_settings({}) if value is Settings else value(), field)
    assert isinstance(value, int | float)
    return value


class TestNumbers:
    def test_the_page_has_rows_with_numbers(self) -> None:
        assert len(bounds()) > 30

    @pytest.mark.parametrize("bound", bounds(), ids=lambda bound: f"{Path(bound.file).stem}.{bound.name}")
    def test_each_number_in_a_row_is_that_of_the_code(self, bound: Bound) -> None:
        assert bound.number == pytest.approx(defined(bound))

    def test_each_number_in_a_sentence_is_that_of_the_code(self) -> None:
        assert f"turns of {LENGTH * 1000:g} ms" in PROSE
        assert f"the rest in one line in {INTERVAL:g} s" in PROSE
        assert f"a purchase may take {ceil(shutdown_timeout(read_settings({})))} s" in PROSE
        assert f"client_max_body_size {MAX_BODY // 1024}k;" in PROSE


class TestNames:
    def test_every_named_variable_is_read(self) -> None:
        assert set(re.findall(r"\bDROPZERO_[A-Z_]+\b", PAGE)) - names_that_are_read() == set()

    def test_every_named_code_is_one_that_clients_get(self) -> None:
        constants = {bound.name for bound in bounds()}
        named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", PAGE)) - constants
        others = {name for name in named if name.startswith("DROPZERO_")} | {"FORWARDED_IP"}
        assert named - others - set(ErrorCode) - set(PurchaseStatus.__members__) == set()

    def test_every_named_metric_is_counted(self) -> None:
        code = "".join(path.read_text() for path in (ROOT / "api" / "metrics").glob("*.py"))
        for name in set(re.findall(r"`(dropzero_[a-z_]+)`", PAGE)) - {GUEST_COOKIE}:
            assert f'"{name.removesuffix("_total")}"' in code, name

    def test_every_link_leads_to_a_file_and_a_heading(self) -> None:
        assert dead_links(DOCS / "security.md") == []

    def test_the_readme_links_to_the_page(self) -> None:
        assert "](docs/security.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@cache
def members(service: str, shape: str) -> dict[str, Any]:
    """The members of a structure of an AWS service, as botocore has them."""
    structure = get_session().get_service_model(service).shape_for(shape)
    assert isinstance(structure, StructureShape)
    return dict(structure.members)


def first_cells(heading: str) -> list[str]:
    """The names in backticks in the first column of the tables of a section."""
    section = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    return re.findall(r"^\| `([^`]+)`", section, re.M)


class TestAws:
    def test_every_named_attribute_of_the_load_balancer_exists(self) -> None:
        documented = members("elbv2", "LoadBalancerAttribute")["Key"].documentation
        named = first_cells("Application Load Balancer")
        assert len(named) >= 5
        assert [name for name in named if f"<code>{name}</code>" not in documented] == []

    def test_every_named_setting_of_cloudfront_exists(self) -> None:
        shapes = ("Origin", "CustomOriginConfig", "DefaultCacheBehavior")
        known = {name for shape in shapes for name in members("cloudfront", shape)}
        named = first_cells("CloudFront")
        assert len(named) >= 6
        assert set(named) - known == set()
        assert "VpcOriginConfig" in known

    def test_every_named_part_of_the_rate_based_rule_exists(self) -> None:
        parts = members("wafv2", "RateBasedStatement")
        for name in ("AggregateKeyType", "EvaluationWindowSec", "Limit", "ScopeDownStatement"):
            assert f"`{name}`" in PAGE
            assert name in parts
        assert {"IP", "FORWARDED_IP"} <= set(parts["AggregateKeyType"].enum)
        assert "RateBasedStatement" in members("wafv2", "Statement")

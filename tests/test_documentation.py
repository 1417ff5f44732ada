"""The pages for people: their links, files, variables and commands exist, and the README stays short."""

import re
import shlex
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from tests.links import dead_links, without_code
from tests.options import command_of, names_that_are_read

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
FOLDERS = (".", "docs", "bench", "tests", ".github", ".github/ISSUE_TEMPLATE")
PAGES = [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]

MOST_LINES = 130
"""Of the README, which is for a newcomer. Everything else has a page in docs/."""

NO_VARIABLES = {"DROPZERO_COMMAND_OPTION", "DROPZERO_ENDPOINT", "DROPZERO_"}
"""Names in the pages that stand for others, or show how one is misspelt."""

SCHEMA = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))

MACHINES_FOLDERS = r"(?<![\w.:])/(?:home|Users|root|tmp|work|mnt)/\w"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_every_kind_of_page_is_looked_at() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert names >= {"README.md", "CONTRIBUTING.md", "docs/security.md", "bench/README.md", "tests/README.md"}
    assert ".github/pull_request_template.md" in names


@every_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert dead_links(page) == []


@every_page
def test_no_page_names_an_issue_or_a_folder_of_a_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(MACHINES_FOLDERS, text) == []
    assert re.findall(r"(?<![\w(/&])#\d{1,5}\b(?!-)", without_code(page)) == []


@every_page
def test_every_module_in_backticks_exists(page: Path) -> None:
    named = re.findall(r"`((?:api|bench|tests|migrations)/[\w/.]+\.\w+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file()] == []


@every_page
def test_every_variable_is_read(page: Path) -> None:
    named = set(re.findall(r"\bDROPZERO_[A-Z_]*", page.read_text(encoding="utf-8")))
    assert named - names_that_are_read() - NO_VARIABLES == set()


@every_page
def test_every_command_exists_with_its_options(page: Path) -> None:
    for text in re.findall(r"(?:\$ (?:[A-Z_]+='[^']*' )?|`)dropzero ([a-z][^`\n>]*)", page.read_text(encoding="utf-8")):
        words = shlex.split(text)
        known = {name for option in command_of(words).params for name in (*option.opts, *option.secondary_opts)}
        assert {word for word in words if re.match("--[a-z]", word)} <= known | {"--help"}, text


@every_page
def test_every_document_of_graphql_is_valid(page: Path) -> None:
    for document in re.findall(r"^```graphql\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        assert validate(SCHEMA, parse(document)) == []


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_readme_leads_to_every_page() -> None:
    text = README.read_text(encoding="utf-8")
    pages = [page for page in PAGES if ".github" not in page.parts and page != README]
    unlisted = [str(page.relative_to(ROOT)) for page in pages if f"]({page.relative_to(ROOT)})" not in text]
    assert unlisted == []

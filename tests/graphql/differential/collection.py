"""The GraphQL documents in this repository: those of the tests, the benches, the pages, and the documentation."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from api.storefront.pages import documents as documents_of_the_storefront

ROOT = Path(__file__).parents[3]

HERE = Path(__file__).parent
"""Where the documents of the other schema are."""

FOLDERS = ("api", "tests", "bench", "docs")

_OPERATION = re.compile(r"\s*(query|mutation|subscription|fragment|\{)\b|\s*\{")
_QUOTED = re.compile(r"""["']\s*(query|mutation|subscription|\{)""")
"""What only files with a document have."""

_FENCED = re.compile(r"```graphql\n(.*?)```", re.DOTALL)
_TEMPLATE = re.compile(r"`(\s*(?:query|mutation|subscription|\{)[^`$]*(?:\$\w[^`]*)?)`")


def documents() -> list[str]:
    """Every text that can be a document, once, in the order of their places. Some are no documents."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if HERE not in path.parents]
    files += sorted(ROOT.glob("*.md"))
    found = [text for path in files for text in _texts(path) if _OPERATION.match(text)]
    return list(dict.fromkeys([*found, *documents_of_the_storefront()]))


def _texts(path: Path) -> Iterator[str]:
    if path.suffix == ".py":
        code = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(code)) if _QUOTED.search(code) else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    elif path.suffix == ".md":
        yield from _FENCED.findall(path.read_text(encoding="utf-8"))
    elif path.suffix in (".js", ".mjs", ".html", ".lua"):
        yield from _TEMPLATE.findall(path.read_text(encoding="utf-8"))
    elif path.suffix == ".graphql":
        yield path.read_text(encoding="utf-8")

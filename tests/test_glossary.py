"""docs/glossary.md: its words are those of the code."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import api

ROOT = Path(api.__file__).parent.parent
PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
CODE = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "api").rglob("*.py"))}
ENTRIES = re.findall(r"^\| ([a-z ]+|Region) \| (.+) \| (.+) \|$", PAGE.partition("## Words")[0], re.MULTILINE)[1:]

UNUSED = re.compile(
    r"\b(tell|tells|told|telling|hear|hears|heard|whoever|whomever|seats?|desks?|wish|wishes)\b", re.IGNORECASE
)


def prose_of(text: str) -> Iterator[tuple[int, str]]:
    """The comments and docstrings of a module, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def test_the_words_are_in_order_and_each_is_there_once() -> None:
    words = [word.lower() for word, *_ in ENTRIES]
    assert len(words) > 30
    assert words == sorted(set(words))


def test_each_name_is_one_of_the_code() -> None:
    words = {word for text in CODE.values() for word in re.findall(r"\w+", text)}
    names = [name for *_, code in ENTRIES for name in re.findall(r"`([^`]+)`", code)]
    assert len(names) > 30
    files = [name for name in names if name.startswith("api/")]
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert [name for name in names if name not in files and name.rpartition(".")[2] not in words] == []


def test_no_comment_and_no_docstring_uses_a_word_that_is_not_used() -> None:
    suspects = {path: text for path, text in CODE.items() if UNUSED.search(text)}
    found = [
        f"{path.relative_to(ROOT)}:{line}: {prose}"
        for path, text in suspects.items()
        for line, prose in prose_of(text)
        if UNUSED.search(prose)
    ]
    assert found == []

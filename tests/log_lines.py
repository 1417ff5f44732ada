"""Lines of the log as the pages quote them, and whether a module of `api/` logs them."""

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_API = Path(__file__).parent.parent / "api"


def unlogged(lines: Iterable[str]) -> list[str]:
    """Those of the lines of which a part is in no string of `api/`. `…`, REGION and PEER stand for values, and parts
    that are separated by `;` may be joined by the code."""
    texts = _texts()
    parts = {line: re.split(r"…|;|\bREGION\b|\bPEER\b", line) for line in lines}
    return [line for line in parts if not all(part.strip(" :") in texts for part in parts[line])]


@cache
def _texts() -> str:
    return "\n".join(_texts_of(path) for path in _API.rglob("*.py"))


def _texts_of(path: Path) -> str:
    """Every string of a module, without %s and the like and without the values of f-strings."""
    constants = [
        re.sub(r"%(\.\d)?[a-z]", "\n", node.value)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return "\n".join(constants)

"""docs/clients.md shows parts of the programs that run."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
PROGRAMS = [path for path in (Path(__file__).parent / "programs").rglob("*.*") if path.is_file()]


def flush_left(text: str) -> str:
    """The text with its lines at the left margin, each of them between two ends of a line."""
    return "\n" + "\n".join(line.strip() for line in text.splitlines()) + "\n"


def test_every_block_of_the_page_is_a_part_of_a_program() -> None:
    blocks = re.findall(r"^```\w+\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    programs = [flush_left(path.read_text(encoding="utf-8")) for path in PROGRAMS]

    assert len(blocks) > 5
    assert [block for block in blocks if not any(flush_left(block) in program for program in programs)] == []

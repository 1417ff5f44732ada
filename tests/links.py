"""The links of a Markdown page to files and headings of this project."""

import re
from pathlib import Path


def dead_links(page: Path) -> list[str]:
    """The links of a page whose file or heading does not exist. Links to other sites are not tried."""
    dead = []
    for target in re.findall(r"\]\(([^)]+)\)", without_code(page)):
        file, _, anchor = target.partition("#")
        destination = page.parent / file if file else page
        if re.match(r"[a-z]+:", target):
            continue
        if not destination.exists() or (anchor and anchor not in anchors(destination)):
            dead.append(target)
    return dead


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.M)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_code(page: Path) -> str:
    """The text of a page without its blocks of code, where `#` begins a comment."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)

"""Print, as constraints for pip, the lowest versions that pyproject.toml allows.

Holds each dependency, the extra `local` included, to its lower bound, and what those bring along to the versions of the
file that the argument names, which is written as constraints.txt is.
"""

import re
import sys
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent

FITTED = {"botocore", "multidict", "s3transfer"}
"""Not held: the lowest boto3 and aiohttp want older ones than constraints.txt has, and bound them from above."""


def floors(project: dict[str, list[str]], extra: list[str]) -> dict[str, str]:
    """Each dependency's name, and the constraint to its lower bound. Raises ValueError where it has none."""
    found = {}
    for requirement in [*project["dependencies"], *extra]:
        bounded = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?>=([\w.]+),[^;]*(;.*)?", requirement)
        if bounded is None:
            raise ValueError(f"{requirement}: expected NAME>=LOWEST,<BOUND")
        name, lowest, marker = bounded.groups(default="")
        found[normalised(name)] = f"{name}=={lowest}{marker}"
    return found


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    lowest = floors(project, project["optional-dependencies"]["local"])
    pinned = [line for line in Path(sys.argv[1]).read_text().splitlines() if "==" in line]
    others = [line for line in pinned if normalised(line.partition("==")[0]) not in {*lowest, *FITTED}]
    sys.stdout.write("".join(f"{line}\n" for line in [*lowest.values(), *others]))


if __name__ == "__main__":
    main()

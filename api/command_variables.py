"""The variables of options of `dropzero`, and the table of all variables in docs/configuration.md."""

from collections.abc import Sequence
from typing import Any

from api.environment_variables import Variable

COMMAND_VARIABLES: tuple[Variable[Any], ...] = (
    Variable("DROPZERO_HOST", "127.0.0.1", str, "the address that `dropzero serve` listens on"),
    Variable("DROPZERO_PORT", 8000, int, "the port that it listens on; 0 takes a free one"),
    Variable(
        "DROPZERO_WORKERS",
        1,
        int,
        "processes that serve; each has lines of its own, see [how many](deployment.md#how-many-processes)",
    ),
    Variable(
        "DROPZERO_URL",
        "http://127.0.0.1:8000",
        str,
        "the server that `dropzero product`, `dropzero orders`, `dropzero load` and `dropzero race` call",
    ),
)
"""The variables of options of `dropzero`, which `api/cli.py` and `api/commands` read."""


def table(variables: Sequence[Variable[Any]]) -> str:
    """The table of docs/configuration.md."""
    return "\n".join(("| variable | default | meaning |", "|---|---|---|", *(variable.row for variable in variables)))

"""Findings: what a check has found, and what to mend."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

DEADLINE = 20.0
"""Seconds that one check may take. A connection to Aurora DSQL is tried for 7.5 s at most."""


class Level(StrEnum):
    """How bad a finding is: nothing to mend, worth mending, or a drop fails."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `mend`: what to do, as a command where there is one; empty where `level` is OK."""

    check: str
    level: Level
    found: str
    mend: str = ""


Check: TypeAlias = Callable[[], Awaitable[Iterable[Finding]]]


def ok(check: str, found: str) -> Finding:
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, mend: str) -> Finding:
    return Finding(check, Level.WARNING, found, mend)


def failed(check: str, found: str, mend: str) -> Finding:
    return Finding(check, Level.FAILED, found, mend)


def explained(check: str, message: str, otherwise: str) -> Finding:
    """A failed check whose error has a message of this project: what was wrong, a semicolon, and what to do. A message
    of another origin has no second part: then `otherwise` is what to do."""
    found, _, mend = " ".join(message.split()).partition("; ")
    return failed(check, found, mend or otherwise)


async def run_checks(checks: Mapping[str, Check], deadline: float = DEADLINE) -> list[Finding]:
    """Run all checks at once, each within `deadline` seconds, and return their findings in the order of `checks`. A
    check that fails in any way does not keep another one from its end."""
    found = await asyncio.gather(*(_run(name, check, deadline) for name, check in checks.items()))
    return [finding for findings in found for finding in findings]


async def _run(name: str, check: Check, deadline: float) -> list[Finding]:
    try:
        async with asyncio.timeout(deadline):
            return list(await check())
    except TimeoutError:
        return [failed(name, f"no answer within {deadline:g} s", "see that this machine reaches it, and run it again")]
    except Exception as error:
        reason = f"it could not be checked: {type(error).__name__}: {error}"
        return [explained(name, reason, "mend what failed before it, and run dropzero doctor again")]

"""`dropzero doctor`: checks everything that a start and a drop need, and prints what to mend."""

import json
import os
from typing import Annotated

import typer

from api import terminal
from api.commands.running import DEFAULT_URL
from api.doctor.finding import Finding, Level


def doctor_command(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="DROPZERO_URL", help="A server that has to answer; if left out, none has to.")
    ] = DEFAULT_URL,
    host: Annotated[
        str, typer.Option(envvar="DROPZERO_HOST", help="The address that dropzero serve is to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="DROPZERO_PORT", min=0, max=65535, help="The port that it is to listen on.")
    ] = 8000,
    workers: Annotated[
        int, typer.Option(envvar="DROPZERO_WORKERS", min=1, max=64, help="Server processes that are to run.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check everything that a start and a drop need: settings, machine, database, issuer, receiver. It changes nothing
    and shows no secret. Exit status 1 if a check failed. `dropzero audit` checks the books."""
    from api.doctor.diagnosis import diagnose  # with all that it checks
    from api.doctor.machine import read_machine

    root = context.find_root().command
    commands = frozenset(root.list_commands(context)) if isinstance(root, typer.core.TyperGroup) else frozenset()
    source = context.get_parameter_source("url")
    named = source is not None and source.name != "DEFAULT"
    address = url if named else f"http://{f'[{host}]' if ':' in host else host}:{port}"
    findings = diagnose(os.environ, read_machine(), address, named=named, workers=workers, commands=commands)
    if as_json:
        terminal.write(_as_json(findings))
    else:
        _print(findings)
    if any(finding.level is Level.FAILED for finding in findings):
        raise typer.Exit(1)


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        terminal.write(f"{finding.level:<7}  {finding.check:<{width}}  {finding.found}")
        if finding.mend:
            terminal.write(f"{'':<7}  {'':<{width}}  mend: {finding.mend}")
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    terminal.write(f"{counts[Level.OK]} ok, {counts[Level.WARNING]} warnings, {counts[Level.FAILED]} failed")


def _as_json(findings: list[Finding]) -> str:
    shown = [
        {"check": finding.check, "level": finding.level, "found": finding.found, "mend": finding.mend or None}
        for finding in findings
    ]
    return json.dumps({"ok": all(finding.level is not Level.FAILED for finding in findings), "findings": shown})

"""`dropzero load` and `dropzero race`: send a running server purchases, and check that it sells exactly the stock."""

import asyncio
from typing import Annotated

import typer

from api import terminal
from api.client.graphql import GONE_AFTER
from api.client.load import Load, LoadReport, run_load
from api.client.race import RaceReport, run_race
from api.commands.reports import load_document, race_document
from api.commands.running import DEFAULT_URL, AsJson, Patience, Urls, fail, operator_clients


def load_command(
    purchases: Annotated[int, typer.Option(min=1, help="Purchases to send in all, of one unit each.")] = 3000,
    buyers: Annotated[int, typer.Option(min=1, max=5000, help="Buyers who purchase at the same time.")] = 50,
    units: Annotated[int, typer.Option(min=0, help="Units in stock at the start.")] = 100,
    region: Annotated[
        list[str] | None, typer.Option(help="A Region to purchase through; may be repeated. All Regions by default.")
    ] = None,
    patience: Patience = GONE_AFTER,
    as_json: AsJson = False,
    url: Urls = [DEFAULT_URL],  # noqa: B006 - Typer copies it
) -> None:
    """Send a running server the load of a drop, and check that it sells exactly the stock. Exit status 1 if not."""

    async def run() -> LoadReport:
        with terminal.progress_bar() as progress:
            task = progress.add_task("Buying", total=purchases)
            async with operator_clients(url, buyers) as servers:
                load = Load(purchases, buyers, units, patience)
                return await run_load(servers, load, region or None, lambda: progress.advance(task))

    report = asyncio.run(run())
    if as_json:
        terminal.write_json(load_document(report))
    else:
        terminal.show(terminal.load_table(report))
        if report.caution is not None:
            terminal.write(report.caution)
    for message, count in report.errors.most_common(5):
        terminal.write_error(f"{count} x {message}")
    if report.objection is not None:
        fail(report.objection, status=1)


def race_command(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to run, each with a product of its own.")] = 100,
    region: Annotated[
        list[str] | None, typer.Option(help="A Region to purchase through; may be repeated. All Regions by default.")
    ] = None,
    patience: Patience = GONE_AFTER,
    as_json: AsJson = False,
    url: Urls = [DEFAULT_URL],  # noqa: B006 - Typer copies it
) -> None:
    """Purchase one unit through every Region at once, and check that exactly one gets it. Exit status 1 if not."""
    report = RaceReport()

    async def run() -> None:
        with terminal.progress_bar() as progress:
            task = progress.add_task("Racing", total=rounds)
            async with operator_clients(url, connections=100) as servers:
                await run_race(servers, rounds, region or None, report, lambda: progress.advance(task), patience)

    try:
        asyncio.run(run())
    finally:  # also after Ctrl-C, and when the server is gone
        if as_json:
            terminal.write_json(race_document(report))
        elif report.rounds:
            terminal.show(terminal.race_table(report))
            for objection in report.objections[:5]:
                terminal.write_error(objection)
    if report.objections:
        fail(f"{len(report.objections)} of {len(report.rounds)} rounds were not exact", status=1)
    everywhere = "both" if len(report.regions) == 2 else "all"
    if not as_json:
        terminal.write(f"Each unit went to exactly one buyer, and {everywhere} endpoints then read 0.")

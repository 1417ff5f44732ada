"""`dropzero cost`: what a drop costs on Aurora DSQL, before it and after it."""

import json
from typing import Annotated
from uuid import UUID

import typer

from api import terminal
from api.commands.running import fail, with_database
from api.cost.actual import Actual, read_actual
from api.cost.bill import Bill, shown
from api.cost.forecast import MONTH, Plan, forecast, idle_month

Price = Annotated[float, typer.Option(min=0, help="USD of a million DPU: 8 in us-east-1, 10 in Tokyo and Osaka.")]


def cost_command(
    orders: Annotated[
        int | None, typer.Option(min=0, help="Forecast a drop with so many orders. Without it, read what orders cost.")
    ] = None,
    purchases: Annotated[
        int | None, typer.Option(min=0, help="Purchases that are sent in all; ten for each order by default.")
    ] = None,
    regions: Annotated[int, typer.Option(min=1, max=2, help="Regions of the cluster that are written to.")] = 2,
    holds: Annotated[bool, typer.Option(help="Whether units are held until they are paid.")] = False,
    lapsed: Annotated[float, typer.Option(min=0, max=1, help="The share of the holds that is not paid.")] = 0.1,
    limit: Annotated[bool, typer.Option(help="Whether the product has a limit per buyer.")] = False,
    group_size: Annotated[int, typer.Option(min=1, max=500, help="Purchases in one transaction.")] = 50,
    watched: Annotated[bool, typer.Option(help="Whether pages watch the stock.")] = True,
    processes: Annotated[int, typer.Option(min=1, help="Server processes, in all Regions.")] = 2,
    hours: Annotated[float, typer.Option(min=0, help="Hours that the processes run and the product sells.")] = 1.0,
    events: Annotated[bool, typer.Option(help="Whether events are kept.")] = False,
    webhook: Annotated[bool, typer.Option(help="Whether events are sent to a webhook; includes --events.")] = False,
    price: Price = 8.0,
    product: Annotated[UUID | None, typer.Option(help="Read the orders of this product alone.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bill as JSON.")] = False,
) -> None:
    """Print what a drop costs on Aurora DSQL, by AWS's public formulas: with --orders a forecast, otherwise what the
    orders in the database have cost."""
    if orders is None:
        actual = with_database(lambda pool: read_actual(pool, product, regions, price))
        if product is not None and not actual.bill.lines:
            fail(f"there is no product {product}", status=1)
        _print_actual(actual, as_json=as_json)
        return
    if product is not None:
        fail("--orders is for a forecast, and --product for what was sold; give one of them", status=2)
    plan = Plan(
        orders=orders,
        purchases=orders * 10 if purchases is None else max(purchases, orders),
        regions=regions,
        holds=holds,
        lapsed=lapsed,
        limit=limit,
        group=group_size,
        watched=watched,
        processes=processes,
        hours=hours,
        events=events or webhook,
        webhook=webhook,
        price=price,
    )
    _print_forecast(plan, forecast(plan), as_json=as_json)


def _print_forecast(plan: Plan, bill: Bill, *, as_json: bool) -> None:
    idle = bill.usd(idle_month(plan))
    if as_json:
        terminal.write(json.dumps({**bill.as_json(), "idleUsdPerMonth": float(shown(idle).replace(",", ""))}))
        return
    _print(bill)
    terminal.write(f"a month of {MONTH:.0f} h without a drop: about {shown(idle)} USD")
    _print_assumed(bill)


def _print_actual(actual: Actual, *, as_json: bool) -> None:
    if as_json:
        terminal.write(json.dumps({**actual.bill.as_json(), "ordersPerTransaction": round(actual.group, 1)}))
        return
    _print(actual.bill)
    terminal.write(f"{actual.group:,.1f} orders in one transaction, on average")
    _print_assumed(actual.bill)


def _print(bill: Bill) -> None:
    terminal.show_list(terminal.bill_table(bill))
    stored = f"{shown(bill.stored / 1e6)} MB stay stored: about {shown(bill.storage_usd)} USD a month"
    terminal.write(stored)


def _print_assumed(bill: Bill) -> None:
    terminal.write("Assumed:")
    for sentence in bill.assumed:
        terminal.write(f"- {sentence}.")

"""`dropzero cost` as its users run it."""

import json

from tests.command import dropzero_here
from tests.regions import HOME
from tests.server import Server


async def test_a_forecast_is_printed_and_says_what_it_assumes() -> None:
    run = await dropzero_here("cost", "--orders", "10000", "--holds", "--webhook")
    assert (run.status, run.err) == (0, "")
    assert "purchases that get units" in run.out
    assert "parcels for the webhook" in run.out
    assert "- 10% of the holds lapse; every payment comes alone." in run.out
    assert "100,000 purchases in all" in run.out

    run = await dropzero_here("cost", "--orders", "1000", "--group-size", "500", "--hours", "0", "--json")
    bill = json.loads(run.out)
    [placed, _] = bill["lines"]
    assert (placed["writeDpu"], bill["total"]["writeDpu"]) == (38.0, 38.0)
    assert bill["idleUsdPerMonth"] > 0


async def test_what_was_sold_is_printed(server: Server, postgres_url: str) -> None:
    product = await server.create_product(stock=5)
    for buyer in ("ada", "bob"):
        await server.purchase(product, buyer)
    there = {"DROPZERO_ENDPOINTS": f"{HOME}={postgres_url}"}
    run = await dropzero_here("cost", "--product", product, **there)
    assert (run.status, run.err) == (0, "")
    assert "1.0 orders in one transaction, on average" in run.out
    assert "orders placed" in run.out
    bill = json.loads((await dropzero_here("cost", "--json", **there)).out)
    assert [line["times"] for line in bill["lines"] if line["what"] == "orders placed"] == [2]

    unknown = await dropzero_here("cost", "--product", "00000000-0000-0000-0000-000000000000", **there)
    assert (unknown.status, unknown.err) == (
        1,
        "dropzero: there is no product 00000000-0000-0000-0000-000000000000\n",
    )
    both = await dropzero_here("cost", "--orders", "5", "--product", product, **there)
    assert both.status == 2

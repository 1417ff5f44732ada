"""`dropzero product`: create, restock and list the products of a running server, as its operator."""

from datetime import datetime
from typing import Annotated

import typer

from api import terminal
from api.client import products
from api.client.graphql import GraphQLClient
from api.commands.running import DEFAULT_URL, Url, with_server
from api.drops.shards import DEFAULT_SHARDS, MAX_SHARDS

product_app = typer.Typer(
    help="Create, restock and list the products of a running server, as its operator.", no_args_is_help=True
)


@product_app.command("create")
def product_create(
    name: Annotated[str, typer.Argument(help="The product's name.")],
    drop: Annotated[str, typer.Option(help="The drop that the product belongs to.")],
    stock: Annotated[int, typer.Option(help="Units in stock at the start.")],
    opens_at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"],
            help="When the drop opens, with a UTC offset: 2026-12-01T10:00+01:00. Open at once by default.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Units that one buyer can hold; no limit by default.")] = None,
    hold_seconds: Annotated[
        int | None, typer.Option(help="Seconds that a buyer has to pay; a purchase is final at once by default.")
    ] = None,
    shards: Annotated[
        int, typer.Option(min=1, max=MAX_SHARDS, help="Rows that its stock is spread over.")
    ] = DEFAULT_SHARDS,
    url: Url = DEFAULT_URL,
) -> None:
    """Create a product with its stock."""

    new = products.NewProduct(name, drop, stock, opens_at, limit, hold_seconds, shards)

    async def create(client: GraphQLClient) -> list[products.Product]:
        return [await products.create_product(client, new)]

    terminal.show(terminal.product_table(with_server(url, create)))


@product_app.command("restock")
def product_restock(
    product_id: Annotated[str, typer.Argument(help="The product's id.")],
    delta: Annotated[int, typer.Argument(help="Units to add. To take units back, write -- first: -- ID -5")],
    url: Url = DEFAULT_URL,
) -> None:
    """Add units to a product, or take back units that nobody has bought."""

    async def restock(client: GraphQLClient) -> list[products.Product]:
        return [await products.restock(client, product_id, delta)]

    terminal.show(terminal.product_table(with_server(url, restock)))


@product_app.command("list")
def product_list(
    drop: Annotated[str | None, typer.Option(help="Only the products of this drop.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="List this many products at most.")] = 50,
    url: Url = DEFAULT_URL,
) -> None:
    """List products, newest first."""
    listed = with_server(url, lambda client: products.list_products(client, drop, limit))
    terminal.show(terminal.product_table(listed))

"""`dropzero product`: create, change, pause, restock and list the products of a running server, as its operator."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from api import terminal
from api.client import products
from api.client.graphql import GraphQLClient, Refused, RequestFailed
from api.client.orders import read_log
from api.client.products import Node
from api.commands import product_options as options
from api.commands.running import DEFAULT_URL, AsJson, Limit, Url, with_server
from api.drops.shards import DEFAULT_SHARDS, MAX_SHARDS

product_app = typer.Typer(
    help="Create, change, pause, restock and list the products of a running server, as its operator.",
    no_args_is_help=True,
)

Product = Annotated[str, typer.Argument(metavar="PRODUCT", help="The product's id.")]

_CHANGES = ("PRODUCT_UPDATED", "PRODUCT_PAUSED", "PRODUCT_RESUMED", "PRODUCT_ARCHIVED")
"""The actions that raise a product's revision."""


@product_app.command("create")
def product_create(
    name: Annotated[str, typer.Argument(help="The product's name.")],
    drop: Annotated[str, typer.Option(help="The drop that the product belongs to.")],
    stock: Annotated[int, typer.Option(help="Units in stock at the start.")],
    price: options.Price = None,
    image: options.Images = [],  # noqa: B006 - typer passes a list of its own
    description: options.Description = None,
    description_in: options.DescriptionsIn = [],  # noqa: B006
    family: options.Family = None,
    option: options.Option = None,
    opens_at: options.OpensAt = None,
    closes_at: options.ClosesAt = None,
    limit: options.BuyersLimit = None,
    hold_seconds: options.HoldSeconds = None,
    shards: Annotated[
        int, typer.Option(min=1, max=MAX_SHARDS, help="Rows that its stock is spread over.")
    ] = DEFAULT_SHARDS,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Create a product with its stock."""
    new = {
        "name": name,
        "description": description,
        "descriptions": options.with_descriptions([], description_in),
        "price": price,
        "family": family,
        "option": option,
        "dropName": drop,
        "stock": stock,
        "opensAt": None if opens_at is None else opens_at.isoformat(),
        "closesAt": None if closes_at is None else closes_at.isoformat(),
        "limitPerBuyer": limit,
        "holdSeconds": hold_seconds,
        "shards": shards,
    }

    async def create(client: GraphQLClient) -> Node:
        images = [await each.image(client) for each in image]
        return await products.create_product(client, {**new, "images": images})

    _run(url, create, as_json=as_json)


@product_app.command("update")
def product_update(
    product: Product,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    price: options.Price = None,
    image: options.Images = [],  # noqa: B006 - typer passes a list of its own
    description: options.Description = None,
    description_in: options.DescriptionsIn = [],  # noqa: B006
    family: options.Family = None,
    option: options.Option = None,
    opens_at: options.OpensAt = None,
    closes_at: options.ClosesAt = None,
    limit: options.BuyersLimit = None,
    hold_seconds: options.HoldSeconds = None,
    no_price: Annotated[bool, typer.Option("--no-price", help="Show no price.")] = False,
    no_image: Annotated[bool, typer.Option("--no-image", help="Remove all pictures.")] = False,
    no_description: Annotated[bool, typer.Option("--no-description", help="Remove the description.")] = False,
    no_family: Annotated[bool, typer.Option("--no-family", help="Take it out of its family.")] = False,
    no_option: Annotated[bool, typer.Option("--no-option", help="Remove its option.")] = False,
    no_opening: Annotated[bool, typer.Option("--no-opening", help="Open at once.")] = False,
    no_closing: Annotated[bool, typer.Option("--no-closing", help="Never close.")] = False,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="Let a buyer hold any number of units.")] = False,
    no_hold: Annotated[bool, typer.Option("--no-hold", help="Make purchases final at once.")] = False,
    revision: Annotated[
        int | None, typer.Option(help="Change nothing if the product has another revision; read first by default.")
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Change a product. What is not named stays as it is. Pictures replace all that there are."""
    values = _values(
        ("name", name, False, "--name"),
        ("price", price, no_price, "--price and --no-price"),
        ("images", image or None, no_image, "--image and --no-image"),
        ("description", description, no_description, "--description and --no-description"),
        ("family", family, no_family, "--family and --no-family"),
        ("option", option, no_option, "--option and --no-option"),
        ("opensAt", opens_at, no_opening, "--opens-at and --no-opening"),
        ("closesAt", closes_at, no_closing, "--closes-at and --no-closing"),
        ("limitPerBuyer", limit, no_limit, "--limit and --no-limit"),
        ("holdSeconds", hold_seconds, no_hold, "--hold-seconds and --no-hold"),
    )
    if not values and not description_in:
        raise typer.BadParameter("name at least one value to change; dropzero product update --help lists them")
    _run(url, lambda client: _update(client, product, revision, values, description_in), as_json=as_json)


def _values(*changes: tuple[str, Any, bool, str]) -> dict[str, Any]:
    """The values that change, by their names in the API, of: name, new value, whether it is removed, options. Raises
    BadParameter."""
    values: dict[str, Any] = {}
    for field, value, is_removed, both in changes:
        if value is not None and is_removed:
            raise typer.BadParameter(f"{both} exclude each other; give one of them")
        if value is not None or is_removed:
            values[field] = value.isoformat() if isinstance(value, datetime) else value
    return values


@product_app.command("pause")
def product_pause(product: Product, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Stop the sale of a product. Holds can still be paid."""
    _run(url, lambda client: products.switch_product(client, product, "pauseProduct"), as_json=as_json)


@product_app.command("resume")
def product_resume(product: Product, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Sell a product again that is paused or archived."""
    _run(url, lambda client: products.switch_product(client, product, "resumeProduct"), as_json=as_json)


@product_app.command("archive")
def product_archive(product: Product, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """End the sale of a product, and take it off the lists. Its orders stay."""
    _run(url, lambda client: products.switch_product(client, product, "archiveProduct"), as_json=as_json)


@product_app.command("restock", context_settings={"ignore_unknown_options": True})  # so that -5 is a number
def product_restock(
    product: Product,
    units: Annotated[int, typer.Argument(metavar="UNITS", help="Units to add; a negative number takes units back.")],
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Add units to a product, or take back units that nobody has bought."""
    _run(url, lambda client: products.restock(client, product, units), as_json=as_json)


@product_app.command("show")
def product_show(product: Product, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Show everything of a product."""
    node = with_server(url, lambda client: _read(client, product))
    if as_json:
        terminal.write_json(node)
    else:
        terminal.show_fields(node)


@product_app.command("list")
def product_list(
    drop: Annotated[str | None, typer.Option(help="Only the products of this drop.")] = None,
    archived: Annotated[
        bool, typer.Option("--archived", help="Only products that are archived, in place of all others.")
    ] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List products, newest first."""
    listed = with_server(url, lambda client: products.list_products(client, drop, limit, archived=archived))
    if as_json:
        terminal.write_json(*listed)
    else:
        terminal.show_list(terminal.product_table(listed))


def _run(url: str, call: Callable[[GraphQLClient], Awaitable[Node]], *, as_json: bool) -> None:
    """Call the server, and print the product that it returns."""
    product = with_server(url, call)
    if as_json:
        terminal.write_json(product)
    else:
        terminal.show_list(terminal.product_table([product]))


async def _read(client: GraphQLClient, product_id: str) -> Node:
    """Raises RequestFailed."""
    product = await products.get_product(client, product_id)
    if product is None:
        raise RequestFailed(f"there is no product {product_id}")
    return product


async def _update(
    client: GraphQLClient,
    product_id: str,
    revision: int | None,
    values: dict[str, Any],
    descriptions: list[options.DescriptionIn],
) -> Node:
    """Raises RequestFailed, which names the changes that others have made if the revision is not the latest."""
    if values.get("images") is not None:
        values["images"] = [await each.image(client) for each in values["images"]]
    known = revision
    if revision is None or descriptions:
        read = await _read(client, product_id)
        known = read["revision"] if revision is None else revision
        if descriptions:
            values["descriptions"] = options.with_descriptions(read["descriptions"], descriptions)
    assert known is not None
    try:
        return await products.update_product(client, product_id, known, values)
    except Refused as error:
        if error.code != "STALE_REVISION":
            raise
        changes = await _changes_since(client, product_id, known)
        raise RequestFailed(f"{error}{''.join(f'; {change}' for change in changes)}") from None


async def _changes_since(client: GraphQLClient, product_id: str, revision: int) -> list[str]:
    """The changes of a product since a revision, oldest first, as far as the log shows them."""
    try:
        number = (await _read(client, product_id))["revision"] - revision
        log = await read_log(client, product_id, limit=100)
    except RequestFailed:  # the log is for operators alone, and adds to an error that is complete without it
        return []
    entries = [entry for entry in log if entry["action"] in _CHANGES][: max(0, number)]
    return [
        f"at {entry['at']} {entry['operator']} changed it: {', '.join(map(terminal.shown_change, entry['changes']))}"
        for entry in reversed(entries)
    ]

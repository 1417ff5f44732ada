"""Images, prices, descriptions and variants through the API: created, changed, cleared, refused and written down."""

from typing import Any

import pytest

from tests.server import ADMIN_TOKEN, Server

DETAILS = "price { amount currency } images { url alt width height } descriptions { language text } family option"
PRODUCT = f"""
query ($id: ID!) {{
  product(id: $id) {{
    {DETAILS} one: images(first: 1) {{ alt }}
    ja: description(language: "ja") pt: description(language: "pt") other: description(language: "ko") description
  }}
}}
"""
UPDATE = f"mutation ($input: UpdateProductInput!) {{ updateProduct(input: $input) {{ {DETAILS} revision }} }}"
LOG = "query ($id: ID!) { operatorLog(productId: $id) { edges { node { changes { field before after } } } } }"
ORDER = "query ($id: ID!) { order(id: $id) { price { amount currency } } }"

TEE: dict[str, Any] = {
    "price": {"amount": "48.00", "currency": "EUR"},
    "images": [
        {"url": "/images/front.webp", "alt": "The front", "width": 800, "height": 1000},
        {"url": "https://shop.example/back.webp", "alt": "The back", "width": 800, "height": 1000},
    ],
    "descriptions": [{"language": "ja", "text": "オーロラ"}, {"language": "pt-BR", "text": "Quente."}],
    "family": "Aurora Tee",
    "option": "M",
}
CLEARED: dict[str, Any] = {"price": None, "images": [], "descriptions": [], "family": None, "option": None}


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def update(server: Server, product_id: str, revision: int, **values: Any) -> dict[str, Any]:
    """Change a product, and return its details."""
    variables = {"input": {"productId": product_id, "revision": revision, **values}}
    updated: dict[str, Any] = (await server.data(UPDATE, variables, token=ADMIN_TOKEN))["updateProduct"]
    assert updated.pop("revision") == revision + 1
    return updated


async def changes(server: Server, product_id: str) -> dict[str, tuple[str | None, str | None]]:
    """What the newest entry of the operator log has, by field: before and after."""
    log = await server.data(LOG, {"id": product_id}, token=ADMIN_TOKEN)
    newest = log["operatorLog"]["edges"][0]["node"]["changes"]
    return {change["field"]: (change["before"], change["after"]) for change in newest}


async def test_details_are_created_and_shown_in_the_readers_language(server: Server) -> None:
    product_id = await server.create_product(**TEE, description="Warm.")
    shown = (await server.data(PRODUCT, {"id": product_id}))["product"]
    languages = {"ja": "オーロラ", "pt": "Quente.", "other": "Warm.", "description": "Warm."}
    assert shown == {**TEE, **languages, "one": [{"alt": "The front"}]}


async def test_each_detail_is_changed_and_cleared_alone_and_the_log_has_both_values(server: Server) -> None:
    product_id = await server.create_product(family="Tee")
    details, revision = {**CLEARED, "family": "Tee"}, 0
    for field, new in TEE.items():
        details[field] = new
        assert await update(server, product_id, revision, **{field: new}) == details
        [(changed, (_, after))] = (await changes(server, product_id)).items()
        assert (changed, bool(after)) == (field, True)
        revision += 1
    for field, none in reversed(CLEARED.items()):  # the option first: it needs its family
        details[field] = none
        assert await update(server, product_id, revision, **{field: None}) == details
        [(changed, (before, after))] = (await changes(server, product_id)).items()
        assert (changed, bool(before), after) == (field, True, None)
        revision += 1


async def test_the_log_has_details_as_people_write_them(server: Server) -> None:
    product_id = await server.create_product(price=TEE["price"])
    assert (await changes(server, product_id))["price"] == (None, "48.00 EUR")
    await update(server, product_id, 0, price={"amount": "52", "currency": "CHF"}, descriptions=TEE["descriptions"])
    assert await changes(server, product_id) == {
        "price": ("48.00 EUR", "52 CHF"),
        "descriptions": (None, '[{"language":"ja","text":"オーロラ"},{"language":"pt-BR","text":"Quente."}]'),
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"option": "M"}, "option needs a family"),
        ({"price": {"amount": "-1", "currency": "EUR"}}, "price.amount must be a number such as 48.00, not '-1'"),
        ({"images": [TEE["images"][0], {**TEE["images"][1], "url": "x"}]}, "images.1.url must be like https://"),
        ({"descriptions": [{"language": "?", "text": "a"}]}, "descriptions.0.language must be a tag of BCP 47"),
        ({"family": ""}, "family must have 1 to 200 characters"),
    ],
)
async def test_details_that_cannot_be_shown_are_refused_new_and_later(
    server: Server, values: dict[str, Any], message: str
) -> None:
    create = "mutation ($input: CreateProductInput!) { createProduct(input: $input) { id } }"
    new = {"name": "Tee", "dropName": "Refused", "stock": 1, **values}
    code, said = await server.refusal(create, {"input": new}, token=ADMIN_TOKEN)
    assert (code, said.startswith(message)) == ("BAD_USER_INPUT", True), said

    product_id = await server.create_product()
    code, said = await server.refusal(
        UPDATE, {"input": {"productId": product_id, "revision": 0, **values}}, token=ADMIN_TOKEN
    )
    assert (code, said.startswith(message)) == ("BAD_USER_INPUT", True), said


async def test_an_order_keeps_the_price_of_its_purchase(server: Server) -> None:
    product_id = await server.create_product(10)
    prices: list[dict[str, str] | None] = [None, TEE["price"], {"amount": "0.5", "currency": "BHD"}]
    orders = []
    for revision, price in enumerate(prices):
        await update(server, product_id, revision, price=price, name=f"Tee {revision}")
        orders.append((await server.purchase(product_id, f"buyer-{revision}"))["order"]["id"])
    kept = [(await server.data(ORDER, {"id": order}, token=ADMIN_TOKEN))["order"]["price"] for order in orders]
    assert kept == prices

"""Exports of orders over HTTP: exact at one moment, harmless to buyers and to spreadsheets, and whole or broken off."""

import asyncio
import csv
import io
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID, uuid4

import aiohttp
import orjson
import pytest

from api.database.pool import Pool
from api.export_formats import COLUMNS
from api.order_export import MOST_EXPORTS
from api.settings import Settings, SocketTimes
from tests.command import dropzero_serve
from tests.graphql.callers import ADA, ANONYMOUS, GUEST, OLGA, OPERATOR, PIA, SUE, open_shop
from tests.patience import PATIENCE, short, until
from tests.server import ADMIN_TOKEN, Server, serving

SELLING = ("HELD", "CONFIRMED")
"""The statuses whose orders have their units."""

# With the units in the sums of the stock, so that the books balance.
INSERT_ORDERS = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region, created_at)
SELECT gen_random_uuid(), $1, 'buyer ' || n, 1, 'CONFIRMED', 'here', now() - n * interval '1 millisecond'
FROM generate_series(1, $2::integer) AS n
"""
COUNT_SOLD = "UPDATE stock_shards SET stocked = stocked + $2 WHERE product_id = $1 AND shard = 0"
EXPORTS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND query LIKE '%FROM orders%' AND pid <> pg_backend_pid()
"""
"""The transactions of exports that are under way."""


@dataclass(frozen=True)
class Exported:
    """An export that has arrived whole."""

    headers: Mapping[str, str]
    body: str

    @property
    def orders(self) -> list[dict[str, Any]]:
        """Of JSON lines."""
        return [orjson.loads(line) for line in self.body.splitlines()]

    @property
    def sold(self) -> int:
        """Units that have left the stock, by the headers."""
        return int(self.headers["x-dropzero-stocked"]) - int(self.headers["x-dropzero-stock"])


async def answer(server: Server, path: str, token: str | None = ADMIN_TOKEN, **query: str) -> tuple[int, Exported]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with server.session.get(f"{server.url}/operator/{path}", params=query, headers=headers) as response:
        return response.status, Exported(response.headers, await response.text())


async def export(server: Server, path: str = "orders.jsonl", **query: str) -> Exported:
    status, exported = await answer(server, path, **query)
    assert status == 200, exported.body
    return exported


async def sell(pool: Pool, product_id: str, number: int) -> None:
    """Insert that many orders."""
    await pool.execute(INSERT_ORDERS, UUID(product_id), number)
    await pool.execute(COUNT_SOLD, UUID(product_id), number)


@asynccontextmanager
async def client_that_does_not_read(server: Server, product_id: str) -> AsyncIterator[asyncio.StreamReader]:
    """A client that has requested an export, and has read the first of it."""
    port = urlsplit(server.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    head = f"GET /operator/orders.jsonl?productId={product_id} HTTP/1.1\r\nHost: localhost\r\n"
    writer.write(f"{head}Authorization: Bearer {ADMIN_TOKEN}\r\n\r\n".encode())
    try:
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
            await reader.readuntil(b"}\n")  # the first order
        yield reader
    finally:
        writer.transport.abort()


async def end_export(pool: Pool) -> None:
    """End the transaction of the export that is under way."""

    async def ended() -> bool:
        return bool(await pool.fetch(f"SELECT pg_terminate_backend(pid) FROM ({EXPORTS}) AS export"))

    await until(ended)


async def test_an_export_balances_while_buyers_buy_and_cancel(server: Server, pool: Pool) -> None:
    product_id = await server.create_product(stock=10_000, holdSeconds=600)
    other = await server.create_product(stock=5)
    await sell(pool, product_id, 1_500)  # several pages
    cancel = "mutation ($id: ID!) { cancelOrder(input: { orderId: $id }) { status } }"
    enough, bought = asyncio.Event(), 0

    async def buy(buyer: int) -> None:
        nonlocal bought
        while not enough.is_set():
            order = (await server.purchase(product_id, f"buyer {buyer}"))["order"]
            await server.purchase(other, f"buyer {buyer}")
            if bought % 3 == 0:
                await server.data(cancel, {"id": order["id"]}, token=ADMIN_TOKEN)
            bought += 1

    exports: list[Exported] = []
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as buyers:
        for buyer in range(40):
            buyers.create_task(buy(buyer))
        while bought < 200 or len({exported.sold for exported in exports}) < 6:
            exports += [await export(server, productId=product_id), await export(server)]
        enough.set()

    for exported in exports:
        units = sum(order["quantity"] for order in exported.orders if order["status"] in SELLING)
        assert units == exported.sold
        assert len({order["id"] for order in exported.orders}) == len(exported.orders) >= 1_500
    assert {order["productName"] for order in exports[-1].orders} == {"Tee"}
    times = [order["createdAt"] for order in exports[-2].orders]
    assert times == sorted(times)
    assert {order["productId"] for order in exports[-2].orders} == {product_id}


async def test_csv_is_for_spreadsheets_and_json_lines_are_exact(server: Server) -> None:
    product_id = await server.create_product(
        name='=1+1, "Tee"', holdSeconds=600, price={"amount": "48.00", "currency": "EUR"}
    )
    buyers = ["=HYPERLINK(1)", "+1", "-1", "@1", 'a "b", ü', "ada"]
    for buyer in buyers:
        await server.purchase(product_id, buyer)
    fields = "id reference userRef quantity status region createdAt heldUntil confirmedAt paymentRef"
    fields += " price { amount currency }"
    query = f"query ($id: ID) {{ orders(productId: $id) {{ edges {{ node {{ {fields} product {{ id name }} }} }} }} }}"
    edges = (await server.data(query, {"id": product_id}, token=ADMIN_TOKEN))["orders"]["edges"]
    stored = [edge["node"] for edge in reversed(edges)]
    for order in stored:
        product = order.pop("product")
        price = order.pop("price")
        order.update(productId=product["id"], productName=product["name"])
        order.update(price=price["amount"], currency=price["currency"])

    exported = await export(server)
    assert [{**order} for order in exported.orders] == sorted(stored, key=lambda order: str(order["id"]))
    assert list(exported.orders[0]) == list(COLUMNS)
    assert exported.headers["content-type"] == "application/jsonl"

    exported = await export(server, "orders.csv", productId=product_id)
    assert exported.headers["content-type"] == "text/csv; charset=utf-8"
    assert exported.headers["content-disposition"] == 'attachment; filename="orders.csv"'
    header, *rows = csv.reader(io.StringIO(exported.body, newline=""), strict=True)
    assert exported.body.count("\r\n") == exported.body.count("\n") == 1 + len(buyers)
    assert tuple(header) == COLUMNS
    for row, order in zip(rows, stored, strict=True):
        plain = {name: "" if value is None else str(value) for name, value in order.items()}
        plain["productName"] = '\'=1+1, "Tee"'
        if order["userRef"][0] in "=+-@":
            plain["userRef"] = f"'{order['userRef']}"
        assert row == [plain[column] for column in COLUMNS]


async def test_an_export_can_be_of_a_status_and_of_a_time(server: Server) -> None:
    product_id = await server.create_product()
    kept, gone = [(await server.purchase(product_id))["order"]["id"] for _ in range(2)]
    await server.data(f'mutation {{ cancelOrder(input: {{ orderId: "{gone}" }}) {{ id }} }}', token=ADMIN_TOKEN)
    first, second = (await export(server, productId=product_id)).orders
    assert (first["id"], second["id"]) == (kept, gone)

    async def found(**query: str) -> list[str]:
        exported = [await export(server, **query), await export(server, productId=product_id, **query)]
        [one, other] = [[order["id"] for order in each.orders] for each in exported]
        assert one == other
        return one

    assert await found(status="CONFIRMED") == [kept]
    assert await found(status="CANCELLED", since=second["createdAt"]) == [gone]
    assert await found(status="HELD") == await found(status="LAPSED") == []
    assert await found(until=second["createdAt"]) == [kept]
    assert await found(since=second["createdAt"]) == [gone]

    log = "{ operatorLog(first: 1) { edges { node { action operator productId changes { field after } } } } }"
    [edge] = (await server.data(log, token=ADMIN_TOKEN))["operatorLog"]["edges"]
    assert edge["node"] == {
        "action": "ORDERS_EXPORTED",
        "operator": "operator",
        "productId": product_id,
        "changes": [{"field": "since", "after": second["createdAt"].replace("+00:00", "Z")}],
    }


async def test_what_cannot_be_exported_is_refused_with_what_to_send(server: Server) -> None:
    product_id = str(uuid4())
    for (status, complaint), (path, query) in {
        (400, "an export has the parameters productId, status, since, until, each once, not 'product'"): (
            "orders.csv",
            {"product": product_id},
        ),
        (400, "productId must be a UUID, such as "): ("orders.csv", {"productId": "1"}),
        (400, "status must be one of HELD, CONFIRMED, CANCELLED, LAPSED, not 'held'"): (
            "orders.csv",
            {"status": "held"},
        ),
        (400, "since must be like 2026-12-01T10:00:00Z, not 'soon'"): ("orders.csv", {"since": "soon"}),
        (400, "until must carry a UTC offset"): ("orders.csv", {"until": "2026-12-01"}),
        (400, "until must be later than since"): (
            "orders.csv",
            {"until": "2026-12-01T00:00:00Z", "since": "2026-12-01T00:00:00Z"},
        ),
        (404, f"there is no product {product_id}"): ("orders.csv", {"productId": product_id}),
        (404, "orders are exported as csv or jsonl, not as xlsx"): ("orders.xlsx", {}),
    }.items():
        found, exported = await answer(server, path, **query)
        assert (found, exported.body[: len(complaint)]) == (status, complaint)
    async with server.session.post(f"{server.url}/operator/orders.csv") as response:
        assert response.status == 405


async def test_exports_are_for_the_operator_and_for_support(postgres_url: str) -> None:
    async with open_shop(postgres_url, closed=False) as shop:
        statuses = {}
        for caller in (ANONYMOUS, ADA, GUEST, PIA, SUE, OLGA, OPERATOR):
            statuses[caller], _ = await answer(shop.server, "orders.csv", shop.token(caller))
    buyers = {ADA: 403, GUEST: 403, PIA: 403}
    assert statuses == {ANONYMOUS: 401, **buyers, SUE: 200, OLGA: 200, OPERATOR: 200}


async def test_a_client_that_stops_reading_holds_nothing_for_ever(settings: Settings, pool: Pool) -> None:
    """Meanwhile others export and buy, as far as the bound of exports goes."""
    async with serving(replace(settings, socket_times=SocketTimes(send=short(1.0)))) as server:
        product_id = await server.create_product(stock=10)
        await sell(pool, product_id, 40_000)  # more than the buffers of a connection hold
        async with client_that_does_not_read(server, product_id), client_that_does_not_read(server, product_id):
            status, exported = await answer(server, "orders.jsonl", productId=product_id)
            assert (status, exported.headers["retry-after"]) == (503, "10")
            assert exported.body.startswith(f"this server has {MOST_EXPORTS} exports under way, as many as it may")
            assert (await server.purchase(product_id))["status"] == "CONFIRMED"
            assert len(await pool.fetch(EXPORTS)) == MOST_EXPORTS

            async def ended() -> bool:
                return not await pool.fetch(EXPORTS)

            await until(ended)
        assert len((await export(server, productId=product_id)).orders) == 40_001


async def test_an_export_that_fails_midway_has_no_end(server: Server, pool: Pool) -> None:
    product_id = await server.create_product()
    await sell(pool, product_id, 40_000)
    async with client_that_does_not_read(server, product_id) as reader:
        await end_export(pool)
        async with asyncio.timeout(PATIENCE):
            received = await reader.read(-1)
    assert not received.endswith(b"0\r\n\r\n")

    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    query = urlencode({"productId": product_id})
    async with server.session.get(f"{server.url}/operator/orders.csv?{query}", headers=headers) as response:
        await response.content.readuntil(b"\n")
        await end_export(pool)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_server_that_stops_breaks_an_export_off(
    settings: Settings, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dropzero.operator")
    async with AsyncExitStack() as clients:
        async with serving(replace(settings, socket_times=SocketTimes(send=short(1.0)))) as server:
            product_id = await server.create_product()
            await sell(pool, product_id, 40_000)
            reader = await clients.enter_async_context(client_that_does_not_read(server, product_id))
        assert "an export of orders ended early: this server stops" in caplog.messages
        async with asyncio.timeout(PATIENCE):
            assert not (await reader.read(-1)).endswith(b"0\r\n\r\n")


async def test_a_server_with_one_connection_keeps_it_for_buyers(settings: Settings) -> None:
    async with serving(replace(settings, connections=1)) as server:
        status, exported = await answer(server, "orders.csv")
        assert (status, exported.body) == (
            503,
            "this server has no connection left for exports; see DROPZERO_CONNECTIONS\n",
        )


@pytest.mark.slow
async def test_an_export_takes_the_memory_of_a_page(tmp_path: Path, postgres_url: str, pool: Pool) -> None:
    number = 120_000
    here = {"DROPZERO_ENDPOINTS": f"here={postgres_url}", "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN}
    async with dropzero_serve(tmp_path / "data", **here) as server:
        product_id = await server.create_product()
        await sell(pool, product_id, 1_000)
        await export(server, "orders.csv")  # whatever the server loads once
        await sell(pool, product_id, number)
        process = Path(f"/proc/{server.process.pid}")
        (process / "clear_refs").write_text("5")  # the peak of its memory counts from here on
        before = _peak(process)
        received = 0
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        url = f"{server.url}/operator/orders.csv?productId={product_id}"
        async with server.session.get(url, headers=headers) as response:
            async for chunk in response.content.iter_any():
                received += chunk.count(b"\n")
        grown = _peak(process) - before
    assert received == 1 + 1_000 + number
    assert grown < 8_000, f"{grown} kB for {received} orders of 200 bytes"


def _peak(process: Path) -> int:
    """The highest resident memory of a process, in kB."""
    [line] = [line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])

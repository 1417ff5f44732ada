"""Traces, as a collector receives them: OTLP over HTTP, in protobuf."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from api.database.pool import Pool
from api.settings import Settings
from api.tracing.tracing import MAX_CLIENT_TRACES, Tracing
from api.tracing.variables import ENDPOINT, SAMPLER, SHARE, Sampling, read_sampling
from tests.command import dropzero_serve
from tests.patience import short, until
from tests.server import ADMIN_TOKEN, PURCHASE, Server, serving
from tests.tracing.collector import CLIENT, INTERNAL, SERVER, Collector, SpanSent

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
NAMED = PURCHASE.replace("mutation (", "mutation Buy(")


async def buy(
    server: Server, product_id: str, buyer: str = "ada", traceparent: str | None = None
) -> aiohttp.ClientResponse:
    body = {"query": NAMED, "variables": {"input": {"productId": product_id, "userRef": buyer}}}
    headers = {} if traceparent is None else {"traceparent": traceparent}
    async with server.session.post(f"{server.url}/graphql", json=body, headers=headers) as response:
        assert (await response.json())["data"]["purchase"]["status"] == "CONFIRMED"
        return response


def only(spans: list[SpanSent], name: str) -> SpanSent:
    [found] = [span for span in spans if span.name == name]
    return found


async def test_the_trace_of_a_purchase_goes_from_the_clients_own_trace_to_each_statement(
    traced: Server, collector: Collector
) -> None:
    product_id = await traced.create_product(10)
    created = await collector.root()
    await buy(traced, product_id, traceparent=TRACEPARENT)
    request = await collector.root(2)

    assert created.parent == ""
    assert (request.trace, request.parent, request.kind) == (TRACE, PARENT, SERVER)
    assert request.name == "POST /graphql"
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/graphql",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "url.path": "/graphql",
        "url.scheme": "http",
    }
    mutation = only(collector.within(request), "mutation")
    assert mutation.attributes == {"graphql.operation.type": "mutation", "graphql.operation.name": "Buy"}
    [line] = collector.within(mutation)
    assert (line.name, line.kind) == ("wait in line", INTERNAL)
    assert line.attributes == {
        "dropzero.product.id": product_id,
        "dropzero.outcome": "Confirmed",
        "dropzero.attempts": 1,
    }
    [transaction] = collector.within(line)
    assert line.links == [(TRACE, transaction.id)]
    assert transaction.attributes == {
        "dropzero.product.id": product_id,
        "dropzero.group.size": 1,
        "dropzero.region": "ap-northeast-1",
        "dropzero.transaction.end": "sold",
    }
    statements = collector.within(transaction)
    names = ["BEGIN", "SELECT products", "UPDATE stock_shards", "INSERT orders", "COMMIT"]
    assert [span.name for span in statements] == names
    assert {span.kind for span in statements} == {CLIENT}
    assert statements[2].attributes == {"db.system.name": "postgresql"}
    assert request.seconds >= mutation.seconds >= line.seconds >= transaction.seconds >= statements[4].seconds > 0
    assert {span.trace for span in [mutation, line, transaction, *statements]} == {TRACE}
    assert not any(span.failed for span in collector.spans)
    assert collector.resources[0]["service.name"] == "dropzero"


async def test_no_trace_has_a_buyer_a_token_or_a_key(traced: Server, collector: Collector) -> None:
    product_id = await traced.create_product(10)
    wanted = {"productId": product_id, "userRef": "ada-lovelace", "idempotencyKey": "hunter2-key"}
    await traced.data(PURCHASE, {"input": wanted}, token=ADMIN_TOKEN)
    await traced.ask('query { orders(userRef: "ada-lovelace", first: 1) { edges { node { id } } } }')
    await traced.session.get(f'{traced.url}/graphql?query={{__typename}}&variables={{"key":"hunter2-key"}}')
    await collector.root(4)

    sent = b"".join(collector.bodies)
    assert b"SELECT products" in sent
    for secret in (b"ada-lovelace", b"hunter2-key", ADMIN_TOKEN.encode(), b"Tee"):
        assert secret not in sent


async def test_each_purchase_of_a_group_links_to_its_one_transaction(
    settings: Settings, collector: Collector, pool: Pool
) -> None:
    one_at_a_time = replace(settings.group, executing=1, in_flight=1)
    async with serving(replace(settings, tracing=Sampling(), group=one_at_a_time)) as server:
        product_id = await server.create_product(100)
        await asyncio.gather(*(buy(server, product_id, f"buyer-{number}") for number in range(20)))
        await collector.root(21)

    lines = [span for span in collector.spans if span.name == "wait in line"]
    transactions = {span.id: span for span in collector.spans if span.name == "transaction"}
    assert len(lines) == 20
    assert len({line.trace for line in lines}) == 20
    assert len(transactions) < 20
    linked = [transactions[span_id] for line in lines for _, span_id in line.links]
    assert len(linked) == 20
    for transaction in transactions.values():
        assert linked.count(transaction) == transaction.attributes["dropzero.group.size"]
        assert transaction.parent in {line.id for line in lines}


async def test_an_operation_over_a_websocket_is_in_the_trace_that_it_names_or_in_that_of_the_handshake(
    traced: Server, collector: Collector
) -> None:
    own, payload = TRACE.replace("0af", "1bf"), {"query": "query Here { now }"}
    async with traced.session.ws_connect(
        traced.websocket_url, protocols=["graphql-transport-ws"], headers={"traceparent": TRACEPARENT}
    ) as socket:
        await socket.send_json({"type": "connection_init"})
        await socket.receive_json()
        for number, extensions in enumerate(({}, {"traceparent": f"00-{own}-{PARENT}-01"}, {"traceparent": 5})):
            message = {"id": str(number), "type": "subscribe", "payload": {**payload, "extensions": extensions}}
            await socket.send_json(message)
            assert (await socket.receive_json())["type"] == "next"
            assert (await socket.receive_json())["type"] == "complete"
            await collector.root(number + 1)

    assert [span.trace for span in collector.roots()] == [TRACE, own, TRACE]
    assert {(span.name, span.parent) for span in collector.roots()} == {("WEBSOCKET /graphql", PARENT)}
    query = only(collector.within(collector.roots()[0]), "query")
    assert query.attributes == {"graphql.operation.type": "query", "graphql.operation.name": "Here"}


async def test_what_fails_is_marked_with_the_class_of_the_error(
    traced: Server, collector: Collector, pool: Pool
) -> None:
    product_id = await traced.create_product(10)
    await pool.execute("ALTER TABLE orders RENAME TO somewhere_else")
    answer = await traced.ask(PURCHASE, {"input": {"productId": product_id, "userRef": "ada"}})
    await pool.execute("ALTER TABLE somewhere_else RENAME TO orders")
    await collector.root(2)

    assert answer["errors"][0]["extensions"]["code"] == "INTERNAL"
    failed = {span.name: span.attributes["error.type"] for span in collector.spans if span.failed}
    assert failed == {
        "SELECT products": "UndefinedTableError",
        "transaction": "UndefinedTableError",
        "wait in line": "UndefinedTableError",
        "mutation": "INTERNAL",
    }
    assert b"does not exist" not in b"".join(collector.bodies)


async def test_a_request_that_waits_for_the_processor_has_a_span_of_its_wait(
    traced: Server, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.graphql.tracing.WORTH_A_SPAN", 0)
    await traced.ask("{ __typename }")
    request = await collector.root()
    wait = only(collector.within(request), "wait for turn")
    assert 0 <= wait.seconds <= request.seconds


@pytest.mark.parametrize(
    ("sampler", "share", "parent", "is_traced"),
    [
        ("", "", "", True),
        ("always_on", "", f"{TRACEPARENT[:-1]}0", True),
        ("always_off", "", TRACEPARENT, False),
        ("parentbased_always_off", "", "", False),
        ("parentbased_always_off", "", TRACEPARENT, True),
        ("parentbased_always_on", "", f"{TRACEPARENT[:-1]}0", False),
        ("traceidratio", "0", TRACEPARENT, False),
        ("traceidratio", "1", "garbage", True),
        ("parentbased_traceidratio", "0", TRACEPARENT, True),
        ("parentbased_traceidratio", "0", "garbage", False),
        ("parentbased_traceidratio", "1", "", True),
    ],
)
def test_the_variables_decide_at_the_head_of_a_request_as_the_sdk_would(
    sampler: str, share: str, parent: str, is_traced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {SAMPLER: sampler, SHARE: share}
    sampling = read_sampling({ENDPOINT: "http://collector:4318", **variables})
    assert sampling is not None
    head = Tracing(sampling).head(parent)
    assert (head is not None) == is_traced

    for name, value in variables.items():
        if value:
            monkeypatch.setenv(name, value)
    context = TraceContextTextMapPropagator().extract({"traceparent": parent}, Context())
    span = TracerProvider(shutdown_on_exit=False).get_tracer("").start_span("", context)
    assert span.is_recording() == is_traced


def test_a_share_of_the_requests_is_traced() -> None:
    tracing = Tracing(Sampling(0.25))
    number = sum(tracing.head() is not None for _ in range(10_000))
    assert 2_000 < number < 3_000


async def test_a_request_that_is_not_traced_sends_no_span(settings: Settings, collector: Collector) -> None:
    async with serving(replace(settings, tracing=Sampling(0.0))) as server:
        assert (await server.purchase(await server.create_product()))["status"] == "CONFIRMED"
        await buy(server, await server.create_product(), traceparent=TRACEPARENT)
    assert {span.trace for span in collector.spans} == {TRACE}


def test_a_client_cannot_have_all_of_its_requests_traced() -> None:
    now = 5.0
    tracing = Tracing(Sampling(), lambda: now)
    traced = [tracing.head(TRACEPARENT) for _ in range(MAX_CLIENT_TRACES + 50)]
    now = 6.0
    traced.append(tracing.head(TRACEPARENT))
    without_parent = [tracing.head() for _ in range(MAX_CLIENT_TRACES + 50)]
    assert sum(head is not None for head in traced) == MAX_CLIENT_TRACES + 1
    assert None not in without_parent


async def test_a_collector_that_is_away_harms_nobody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:hunter2@127.0.0.1:{unused_tcp_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    async with serving(replace(settings, tracing=Sampling())) as server:
        product_id = await server.create_product(10)
        assert (await server.purchase(product_id))["status"] == "CONFIRMED"
        await until(lambda: "traces cannot be sent" in caplog.text)
    # pytest's handler is at the SDK's logger as well, which passes nothing on.
    records = [record for record in caplog.records if not record.name.startswith("opentelemetry")]
    assert [record.name for record in records if record.levelname != "INFO"] == ["dropzero.tracing"]
    assert not logging.getLogger("opentelemetry").propagate
    assert "hunter2" not in caplog.text


async def test_a_server_stops_although_its_collector_never_answers(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.tracing.tracing.CLOSE_TIMEOUT", short(0.2))
    never = asyncio.Event()

    async def answer() -> web.Response:
        await never.wait()
        return web.Response()

    collector.answer = answer
    async with serving(replace(settings, tracing=Sampling())) as server:
        assert (await server.purchase(await server.create_product()))["status"] == "CONFIRMED"
        await until(lambda: collector.requests > 0)
        assert (await server.purchase(await server.create_product()))["status"] == "CONFIRMED"
    assert collector.spans == []
    never.set()


@pytest.mark.slow
async def test_each_worker_sends_its_own_traces(collector: Collector, tmp_path: Path, database_url: str) -> None:
    variables = {
        "DROPZERO_ENDPOINTS": f"us-east-1={database_url}",
        "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=hunter2",
    }
    async with dropzero_serve(tmp_path / "data", "--workers", "2", **variables) as server:
        for _ in range(20):  # each on a connection of its own, so that both workers accept some
            async with aiohttp.ClientSession() as session, session.get(f"{server.url}/graphql?query={{now}}"):
                pass
        assert await server.stop() == 0
    assert len(collector.roots()) == 20  # sent before the end, however long the SDK would have waited
    assert {resource["service.name"] for resource in collector.resources} == {"shop"}
    assert {headers["x-key"] for headers in collector.headers} == {"hunter2"}
    assert "hunter2" not in server.log


async def test_nothing_is_sent_where_traces_are_off(settings: Settings, collector: Collector) -> None:
    async with serving(settings) as server:
        assert (await server.ask("{ __typename }"))["data"]
    assert collector.requests == 0

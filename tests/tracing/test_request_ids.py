"""Request ids: from an answer to the lines of the log about it; and the log as JSON."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.database.pool import Pool
from api.json_log import JsonFormatter
from api.settings import Settings
from api.tracing.request_trace import RequestTrace
from api.tracing.variables import Sampling
from tests.command import dropzero, dropzero_here
from tests.server import ADMIN_TOKEN, PURCHASE, Server, serving
from tests.tracing.collector import Collector

TYPENAME = {"query": "{ __typename }"}


def lines_about(caplog: pytest.LogCaptureFixture, request_id: str) -> list[dict[str, Any]]:
    """The log lines with this id, as JSON."""
    formatter = JsonFormatter()
    lines: list[dict[str, Any]] = [json.loads(formatter.format(record)) for record in caplog.records]
    return [line for line in lines if line.get("request_id") == request_id]


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        (b"0f3a", "0f3a"),
        (b"Root=1-67891233-abcdef012345678912345678", "Root=1-67891233-abcdef012345678912345678"),
        (b"a" * 64, "a" * 64),
        (b"a" * 65, None),
        (b"", None),
        (b"two words", None),
        (b"line\n", None),
        (b"\xff", None),
        ("é".encode(), None),
    ],
)
def test_an_id_of_a_client_is_taken_if_it_is_short_and_of_safe_characters(sent: bytes, known: str | None) -> None:
    assert RequestTrace([sent]).known_id == known
    assert RequestTrace([sent, sent]).known_id is None


async def test_an_answer_has_the_id_that_its_request_had_and_no_other(shared_server: Server) -> None:
    url = f"{shared_server.url}/graphql"
    async with shared_server.session.post(url, json=TYPENAME, headers={"x-request-id": "of-the-proxy"}) as response:
        assert response.headers["x-request-id"] == "of-the-proxy"
    async with shared_server.session.post(url, json=TYPENAME) as response:
        assert "x-request-id" not in response.headers
    async with shared_server.session.post(url, json=TYPENAME, headers={"x-request-id": "<script>"}) as response:
        assert "x-request-id" not in response.headers


async def test_a_page_of_another_origin_may_read_the_id(server: Server) -> None:
    headers = {"origin": "http://localhost:3000", "x-request-id": "of-the-page"}
    async with server.session.post(f"{server.url}/graphql", json=TYPENAME, headers=headers) as response:
        assert "x-request-id" in response.headers["access-control-expose-headers"]


async def test_an_operators_change_is_logged_under_the_id_of_its_request(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    create = 'mutation { createProduct(input: {name: "Tee", dropName: "A", stock: 1}) { id } }'
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}", "x-request-id": "of-the-operator"}
    with caplog.at_level(logging.INFO):
        await server.session.post(f"{server.url}/graphql", json={"query": create}, headers=headers)
    [line] = lines_about(caplog, "of-the-operator")
    assert "created the product" in line["message"]


async def test_a_defect_is_found_by_what_the_buyer_sees_and_by_its_trace(
    settings: Settings, collector: Collector, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(replace(settings, tracing=Sampling())) as server:
        product_id = await server.create_product(10)
        await pool.execute("ALTER TABLE orders RENAME TO somewhere_else")
        body = {"query": PURCHASE, "variables": {"input": {"productId": product_id, "userRef": "ada"}}}
        async with server.session.post(f"{server.url}/graphql", json=body) as response:
            [error] = (await response.json())["errors"]
        await pool.execute("ALTER TABLE somewhere_else RENAME TO orders")
        request = await collector.root(2)

    reference = error["extensions"]["requestId"]
    assert reference in error["message"]
    assert response.headers["x-request-id"] == reference
    [line] = lines_about(caplog, reference)
    assert line["trace_id"] == request.trace
    assert line["span_id"] in {span.id for span in collector.spans if span.name == "mutation"}
    assert "UndefinedTableError" in line["traceback"]


async def test_a_defect_over_a_websocket_has_an_id_too(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("api.graphql.engine.Engine.run", fail)
    async with server.session.ws_connect(server.websocket_url, protocols=["graphql-transport-ws"]) as socket:
        await socket.send_json({"type": "connection_init"})
        await socket.receive_json()
        await socket.send_json({"id": "1", "type": "subscribe", "payload": TYPENAME})
        [error] = (await socket.receive_json())["payload"]
    [line] = lines_about(caplog, error["extensions"]["requestId"])
    assert "hunter2" in line["traceback"]


class TestJson:
    def test_a_record_is_one_line_of_json_whatever_is_in_it(self) -> None:
        try:
            raise ValueError("two\nlines \ud800 ✓")
        except ValueError as error:
            record = logging.LogRecord("a", logging.ERROR, "", 0, 'it "failed"\n%s', ("\x1b\u2028",), None)
            record.exc_info = (ValueError, error, error.__traceback__)
        record.created = 1_780_000_000.25
        text = JsonFormatter().format(record)

        assert "\n" not in text
        assert text.isascii()
        line = json.loads(text)
        assert line["traceback"].splitlines()[-2].startswith("ValueError: two")
        del line["traceback"]
        assert line == {
            "time": "2026-05-28T20:26:40.250+00:00",
            "level": "ERROR",
            "logger": "a",
            "message": 'it "failed"\n\x1b\u2028',
        }

    async def test_a_command_that_fails_logs_why(self, tmp_path: Path) -> None:
        run = await dropzero("serve", DROPZERO_LOG="json", DROPZERO_ATTEMPTS="none", DROPZERO_DATA=str(tmp_path))
        line = json.loads(run.err)
        assert run.status == 2
        assert (line["level"], line["logger"]) == ("CRITICAL", "dropzero.command")
        assert line["message"].startswith("DROPZERO_ATTEMPTS: expected a whole number")

    async def test_another_format_is_refused(self) -> None:
        run = await dropzero_here("schema", DROPZERO_LOG="xml")
        assert (run.status, run.err) == (2, "dropzero: DROPZERO_LOG: expected text or json, not 'xml'\n")

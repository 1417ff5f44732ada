"""URLs as providers write them: each works up to the first query, or is refused with the name of what to leave out."""

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from api.database.connect import Connector, ConnectTimes
from api.database.endpoint import Endpoint, parse_endpoints
from api.database.errors import Unavailable
from api.database.tokens import AuthTokens
from api.database.url_parameters import read_address
from tests.command import dropzero_here
from tests.dsql.certificates import HOST, Authority
from tests.fixtures.databases import SECRET
from tests.patience import PATIENCE, short
from tests.tls import Front, tls_front


@pytest.fixture
async def front(postgres_url: str, authority: Authority) -> AsyncIterator[Front]:
    """The test's database over TCP and TLS, at localhost by its certificate."""
    async with tls_front(postgres_url, authority.tls) as front:
        yield front


@contextlib.asynccontextmanager
async def connected(
    url: str, times: ConnectTimes = ConnectTimes(timeout=PATIENCE)
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection that is opened as by the server, from the text of DROPZERO_ENDPOINTS."""
    [endpoint] = parse_endpoints(f"here={url}")
    connection = await Connector(endpoint, AuthTokens(), times).connect()
    try:
        yield connection
    finally:
        await connection.close()


async def refusal(url: str, times: ConnectTimes = ConnectTimes(timeout=PATIENCE)) -> str:
    with pytest.raises(Unavailable) as refused:
        async with connected(url, times):
            pass
    assert SECRET not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, authority: Authority, tmp_path: Path) -> None:
    """Make the tests' certificate authority the system's only one, and the home folder an empty one."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv("HOME", str(tmp_path))


# The queries of URLs in providers' consoles and in the documentation of other clients.
PROVIDED = {
    "neon": "sslmode=require&channel_binding=require",
    "neon, older": "sslmode=require&options=-c%20search_path%3Dpublic",
    "supabase": "pgbouncer=true",
    "supabase by vercel": "sslmode=require&supa=base-pooler.x",
    "vercel": "sslmode=require&pgbouncer=true&connect_timeout=15",
    "vercel for drizzle": "workaround=supabase-pooler.vercel&sslmode=require",
    "prisma": "schema=public&connection_limit=5&pool_timeout=20&socket_timeout=30&connect_timeout=10",
    "prisma, strict": "sslaccept=strict&statement_cache_size=0",
    "prisma, any certificate": "sslmode=require&sslaccept=accept_invalid_certs",
    "digitalocean, aiven, azure": "sslmode=require",
    "heroku, render, railway": "",
    "planetscale": "sslmode=verify-full&sslrootcert=system",
    "cockroach": "sslmode=verify-full",
    "amazon rds": "sslmode=verify-full&sslrootcert={authority}",
    "node-postgres": "ssl=true",
    "node-postgres, unverified": "sslmode=no-verify&statement_timeout=30000&query_timeout=30000",
    "node-postgres as libpq": "uselibpqcompat=true&sslmode=require",
    "jdbc": "ssl=true&sslmode=require&ApplicationName=shop&currentSchema=public&tcpKeepAlive=true&loginTimeout=10"
    "&socketTimeout=60&prepareThreshold=0&reWriteBatchedInserts=true&targetServerType=primary",
    "libpq": "connect_timeout=10&keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3"
    "&tcp_user_timeout=10000&gssencmode=disable&target_session_attrs=read-write&application_name=shop"
    "&client_encoding=UTF8&sslcompression=0&sslsni=1&channel_binding=prefer&sslnegotiation=postgres",
    "pgx": "sslmode=require&pool_max_conns=10&default_query_exec_mode=cache_describe",
    "rails": "pool=5&prepared_statements=false&encoding=unicode",
    "an empty value": "sslmode=&connect_timeout=",
}


@pytest.mark.parametrize("query", PROVIDED.values(), ids=PROVIDED)
async def test_a_provider_s_url_works_up_to_the_first_query(
    front: Front, member: str, postgres_url: str, authority: Authority, trusted: None, query: str
) -> None:
    database = postgres_url.split("?")[0].rpartition("/")[2]
    query = query.format(authority=authority.file)
    async with connected(f"postgresql://{member}@{HOST}:{front.port}/{database}?{query}") as connection:
        assert await connection.fetchval("SELECT current_user") == "member"
        assert await connection.fetchval("SELECT count(*) FROM products") == 0
        shop = "pplication" in query and "shop" in query
        assert await connection.fetchval("SHOW application_name") == ("shop" if shop else "dropzero")
    assert (front.encrypted, front.plain) == (1, 0)


async def test_a_password_that_is_wrong_is_refused(front: Front, member: str) -> None:
    assert "password authentication failed" in await refusal(f"postgresql://member:x@{HOST}:{front.port}/postgres")


@pytest.mark.parametrize("query", ["sslmode=disable", "sslmode=prefer", "ssl=false", ""])
async def test_a_server_without_tls_is_used_if_the_url_does_not_require_tls(postgres_url: str, query: str) -> None:
    database = postgres_url.split("?")[0].rpartition("/")[2]
    async with (
        tls_front(postgres_url, None) as front,
        connected(f"postgresql://postgres@{HOST}:{front.port}/{database}?{query}") as connection,
    ):
        assert await connection.fetchval("SELECT 1") == 1
        assert (front.encrypted, front.plain) == (0, 1)


@pytest.mark.parametrize("query", ["sslmode=require", "ssl=true", "channel_binding=require", "sslrootcert=system"])
async def test_a_server_without_tls_is_refused_if_the_url_requires_tls(
    postgres_url: str, trusted: None, query: str
) -> None:
    async with tls_front(postgres_url, None) as front:
        assert await refusal(f"postgresql://postgres@{HOST}:{front.port}/postgres?{query}") == (
            "no connection to here: the server takes no TLS; check the host and the port, or leave TLS out of the URL"
        )
        assert (front.encrypted, front.plain) == (0, 0)


@pytest.mark.parametrize(
    "query", ["channel_binding=require", "sslmode=require&channel_binding=require", "ssl=true", "sslrootcert=system"]
)
@pytest.mark.parametrize("wrong", ["authority", "host"])
async def test_a_url_that_requires_verification_is_not_connected_to_another_server(
    postgres_url: str, authority: Authority, trusted: None, query: str, wrong: str
) -> None:
    other: ssl.SSLContext = (
        authority.unknown_context() if wrong == "authority" else authority.context_for("elsewhere.example")
    )
    async with tls_front(postgres_url, other) as front:
        message = await refusal(f"postgresql://member:{SECRET}@{HOST}:{front.port}/postgres?{query}")
        assert message.startswith("no connection to here: the server's certificate does not verify: ")
        assert "sslrootcert=FILE" in message
        assert ("can be left out of the URL" in message) == ("channel_binding" in query)
        assert (front.encrypted, front.plain) == (0, 0), "no password was sent"


async def test_the_file_of_libpq_comes_before_the_system_s_authorities(
    front: Front, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    url = f"postgresql://postgres@{HOST}:{front.port}/postgres?sslmode=verify-full"
    assert "does not verify" in await refusal(url)
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").write_bytes(authority.file.read_bytes())
    async with connected(url):
        pass
    assert "does not verify" in await refusal(f"{url}&sslrootcert=system")


async def test_a_missing_file_is_named(front: Front) -> None:
    message = await refusal(
        f"postgresql://postgres@{HOST}:{front.port}/postgres?sslmode=require&sslrootcert=/no/ca.pem"
    )
    assert message == "no connection to here: a file that the URL names cannot be read: sslrootcert=/no/ca.pem"


@pytest.mark.slow
async def test_a_short_connect_timeout_is_obeyed_and_a_long_one_is_not_waited_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it listens, and accepts nothing
        url = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/postgres"
        assert "no answer within 1 seconds; check" in await refusal(f"{url}?connect_timeout=1")
        for query in ("?connect_timeout=600", "?connect_timeout=0", ""):
            message = await refusal(f"{url}{query}", ConnectTimes(timeout=short(0.1)))
            assert f"no answer within {short(0.1):g} seconds" in message


@pytest.mark.parametrize(
    ("query", "search_path"),
    [
        ("schema=Shop%20%22a%22", '"Shop ""a"""'),
        ("currentSchema=shop,public".replace(",", "%2C"), "shop,public"),
        ("search_path=shop&schema=other", "shop"),
        ("options=-c%20search_path%3Dshop", "shop"),
        ("options=--search_path%3Dshop", "shop"),
    ],
)
async def test_the_schema_of_a_url_is_the_one_that_is_used(postgres_url: str, query: str, search_path: str) -> None:
    async with connected(f"{postgres_url}&{query}") as connection:
        assert await connection.fetchval("SHOW search_path") == search_path


@pytest.mark.parametrize(
    ("query", "named", "instead"),
    [
        ("sslmod=require", "sslmod, which dropzero does not know", "leave it out, or write a setting of the database"),
        ("work_mem=hunter2", "work_mem, which dropzero does not know", "as options=-c%20NAME%3DVALUE"),
        ("hunter2", "a parameter without a name or a value", "leave it out"),
        ("%20hunter2=1", "a parameter without a name", "leave it out"),
        ("=hunter2", "a parameter without a name", "leave it out"),
        ("sslmode=hunter2", "a value of sslmode that", "write sslmode=require"),
        ("ssl=hunter2", "a value of ssl that", "write sslmode=require"),
        ("channel_binding=hunter2", "a value of channel_binding that", "leave it out"),
        ("sslmode=disable&channel_binding=require", "channel_binding beside an sslmode", "write sslmode=require"),
        ("sslmode=prefer&sslrootcert=system", "sslrootcert beside an sslmode", "write sslmode=require"),
        ("sslmode=verify-full&sslcrl=hunter2", "sslcrl, which needs sslrootcert=FILE", ""),
        ("gssencmode=require", "a value of gssencmode that", "write sslmode=verify-full"),
        ("require_auth=hunter2", "require_auth, which dropzero does not obey", "write sslmode=verify-full"),
        ("target_session_attrs=standby", "a value of target_session_attrs that", "write target_session_attrs=read-wr"),
        ("connect_timeout=hunter2", "a value of connect_timeout that", "write whole seconds"),
        ("connect_timeout=-1", "a value of connect_timeout that", "write whole seconds"),
        ("port=70000", "a value of port that", "write a number"),
        ("client_encoding=hunter2", "a value of client_encoding that", "dropzero speaks UTF-8"),
        ("sslidentity=hunter2", "sslidentity, which dropzero does not obey", "write sslcert=FILE"),
        ("hostaddr=10.0.0.1", "hostaddr, which dropzero does not obey", "in the place of the host"),
        ("sslcertmode=disable", "a value of sslcertmode that", "leave it out"),
        ("sslsni=0", "a value of sslsni that", "leave it out"),
        ("replication=database", "replication, which", "leave it out"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_by_name_and_never_by_value(query: str, named: str, instead: str) -> None:
    with pytest.raises(ValueError, match=r"^the URL of here has ") as refused:
        parse_endpoints(f"here=postgresql://app:{SECRET}@h.example/shop?{query}")
    assert named in str(refused.value)
    assert instead in str(refused.value)
    assert SECRET not in str(refused.value)


async def test_a_command_names_the_variable_and_the_parameter() -> None:
    url = f"postgresql://app:{SECRET}@h.example/shop?connect_timeout={SECRET}"
    run = await dropzero_here("audit", DROPZERO_ENDPOINTS=f"here={url}")
    assert (run.status, run.out) == (2, "")
    assert run.err == (
        "dropzero: DROPZERO_ENDPOINTS: the URL of here has a value of connect_timeout that dropzero does not obey; "
        "write whole seconds, such as connect_timeout=5\n"
    )


def test_a_question_mark_within_a_password_begins_no_parameters() -> None:
    with pytest.raises(ValueError, match=r"^the URL of here cannot be used; .* %3F$") as refused:
        parse_endpoints("here=postgresql://app:12?hun=ter2@h.example/shop")
    assert "hun" not in str(refused.value)


def test_the_address_of_an_endpoint_does_not_show_what_is_secret() -> None:
    address = read_address("here", f"postgresql://app:{SECRET}@h/db?sslpassword={SECRET}&sslmode=require")
    assert SECRET not in repr(address)
    assert SECRET in address.url


def test_an_endpoint_keeps_its_url_as_it_was_given() -> None:
    url = "postgresql://app@h.example/shop?sslmode=require&channel_binding=require&pgbouncer=true"
    assert parse_endpoints(f"here={url}") == (Endpoint("here", url),)

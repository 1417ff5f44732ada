"""Which logins the stand-in accepts, and how long their connections last."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable
from datetime import timedelta

import asyncpg
import pytest

from api.database.endpoint import DsqlAddress
from api.database.endpoint import Endpoint as Address
from tests.clock import pass_time
from tests.dsql import wire
from tests.dsql.certificates import HOST, Authority
from tests.dsql.cluster import Cluster, create_role
from tests.dsql.conftest import Connect
from tests.dsql.stand_in import StandIn, utc_now
from tests.dsql.token import ACCESS_DENIED, ACCESS_KEY_ID
from tests.patience import PATIENCE
from tests.regions import HOME, PEER

Sign = Callable[..., str]


async def test_the_api_reads_the_stand_in_s_url(home: StandIn, authority: Authority) -> None:
    address = Address(HOME, home.url_as("admin")).dsql

    assert address == DsqlAddress(HOST, home.port, "admin", "postgres", str(authority.file))


async def test_admin_and_a_custom_role_log_in(home: StandIn, connect: Connect) -> None:
    for role, inside in (("admin", "postgres"), ("app", "app")):
        async with connect(home, role) as connection:
            assert await connection.fetchval("SELECT current_user") == inside
            assert connection.get_settings().server_version == "16.15"


@pytest.mark.usefixtures("table")
async def test_a_custom_role_writes_rows_and_changes_no_schema(home: StandIn, connect: Connect) -> None:
    async with connect(home, "app") as connection:
        assert await connection.execute("UPDATE t SET value = 1") == "UPDATE 2"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DROP TABLE t")


async def test_create_role_accepts_an_existing_role(cluster_url: str, home: StandIn, connect: Connect) -> None:
    await create_role(cluster_url, "app")

    async with connect(home, "app") as connection:
        assert await connection.fetchval("SELECT current_user") == "app"


async def test_a_login_without_tls_is_refused(home: StandIn, connect: Connect) -> None:
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="TLS is required"):
        async with connect(home, ssl=False):
            pass


async def test_a_login_without_sni_is_refused(home: StandIn, connect: Connect, authority: Authority) -> None:
    nameless = ssl.create_default_context(cafile=authority.file)
    nameless.check_hostname = False

    with pytest.raises(asyncpg.ConnectionFailureError, match="sni was not received"):
        async with connect(home, host="127.0.0.1", ssl=nameless):  # a client sends no SNI for an address
            pass


async def test_a_certificate_can_be_of_another_host_or_authority(
    home: StandIn, connect: Connect, authority: Authority
) -> None:
    for tls, reason in (
        (authority.context_for("elsewhere.example"), "Hostname mismatch"),
        (authority.unknown_context(), "unable to get local issuer"),
    ):
        home.tls = tls
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            async with connect(home):
                pass


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (lambda sign: sign("app"), "user: admin, action: DbConnect$"),
        (lambda sign: sign("admin", PEER), f"not '{PEER}'"),
        (lambda sign: sign("admin", host="elsewhere.example"), "made for the endpoint elsewhere.example"),
        (lambda sign: sign("admin").replace("Expires=900", "Expires=901"), "signature we calculated does not match"),
        (lambda sign: sign("admin").replace(ACCESS_KEY_ID, "AKIDOFSOMEBODYELSE"), "security token .* is invalid"),
        (lambda sign: sign("admin", ExpiresIn=8 * 86400), "time is not valid"),
        (lambda _: "a password", "no presigned request"),
    ],
    ids=["action", "region", "host", "signature", "key", "lifetime", "password"],
)
async def test_a_wrong_token_is_refused(
    home: StandIn, connect: Connect, sign: Sign, forge: Callable[[Sign], str], reason: str
) -> None:
    with pytest.raises(asyncpg.ConnectionFailureError, match="access denied") as refused:
        async with connect(home, password=forge(sign)):
            pass

    assert refused.value.sqlstate == ACCESS_DENIED
    assert re.search(reason, str(refused.value.hint))


async def test_admin_s_token_is_refused_for_a_custom_role(home: StandIn, connect: Connect, sign: Sign) -> None:
    with pytest.raises(asyncpg.ConnectionFailureError, match="access denied"):
        async with connect(home, "app", password=sign("admin")):
            pass


async def test_a_token_is_accepted_until_it_expires(home: StandIn, connect: Connect, sign: Sign) -> None:
    token = sign("admin", ExpiresIn=60)
    now = utc_now()

    home.clock = lambda: now + timedelta(seconds=50)
    async with connect(home, password=token) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    home.clock = lambda: now + timedelta(seconds=61)
    with pytest.raises(asyncpg.ConnectionFailureError, match="access denied") as refused:
        async with connect(home, password=token):
            pass

    assert str(refused.value.hint).startswith("Signature expired: ")


async def test_an_endpoint_without_a_region_accepts_a_token_of_any(
    cluster: Cluster, connect: Connect, sign: Sign
) -> None:
    async with cluster.endpoint(None) as endpoint, connect(endpoint, password=sign("admin", "here")) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_only_the_database_postgres_exists(home: StandIn, connect: Connect) -> None:
    with pytest.raises(asyncpg.InvalidCatalogNameError, match='database "shop" does not exist'):
        async with connect(home, database="shop"):
            pass


@pytest.mark.parametrize("role", ["nobody", "postgres"])
async def test_a_missing_role_is_refused_as_by_postgresql(home: StandIn, connect: Connect, role: str) -> None:
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match=f'role "{role}" does not exist'):
        async with connect(home, role):
            pass


async def test_the_next_connections_can_be_refused(home: StandIn, connect: Connect) -> None:
    home.waking_up = 1
    with pytest.raises(asyncpg.ConnectionFailureError, match="waking up cluster, please retry later"):
        async with connect(home):
            pass

    home.rate_exceeded = 1
    with pytest.raises(asyncpg.ConfigurationLimitExceededError, match="rate exceeded"):
        async with connect(home):
            pass

    home.expired_tokens = 1
    with pytest.raises(asyncpg.ConnectionFailureError, match="access denied") as refused:
        async with connect(home):
            pass
    assert str(refused.value.hint).startswith("Signature expired: ")

    home.revoked = {"app"}
    with pytest.raises(asyncpg.ConnectionFailureError, match="access denied"):
        async with connect(home, "app"):
            pass

    async with connect(home) as connection:  # the counts are used up
        home.refusing = True
        with pytest.raises(asyncpg.TooManyConnectionsError):
            async with connect(home):
                pass
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_connection_is_dropped_at_its_age_without_a_message(home: StandIn, connect: Connect) -> None:
    dropped = asyncio.Event()

    async with connect(home) as connection:
        connection.add_termination_listener(lambda _: dropped.set())
        pass_time(home.max_age)
        async with asyncio.timeout(PATIENCE):
            await dropped.wait()
        with pytest.raises(asyncpg.InterfaceError, match="connection is closed"):
            await connection.execute("SELECT 1")


async def test_a_cancel_request_is_refused(home: StandIn) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", home.port)
    writer.write((16).to_bytes(4) + wire.CANCEL_REQUEST.to_bytes(4) + bytes(8))

    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()

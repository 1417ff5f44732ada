"""Opening a connection: how, which refusals are retried, and what an operator reads when it fails."""

import asyncio
import contextlib
import logging
import traceback
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from api.database.backoff import Backoff
from api.database.connect import Connector, ConnectTimes
from api.database.endpoint import Endpoint
from api.database.errors import Unavailable, WakingUp
from api.database.migrations import MigrationError
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.tokens import AuthTokens
from api.drops.rights import GRANTS, RightsMissing
from api.settings import Settings
from api.startup import require_ready_database
from tests import command
from tests.dsql.certificates import Authority
from tests.dsql.stand_in import StandIn, utc_now
from tests.dsql.token import ACCESS_KEY_ID, CREDENTIALS, SECRET_ACCESS_KEY
from tests.faults import FaultyEndpoint
from tests.patience import PATIENCE, PATIENT_TIMES, short
from tests.regions import HOME
from tests.server import serving

NO_CONNECTION = f"no connection to {HOME} (localhost)"


TIMES = ConnectTimes(timeout=PATIENCE, backoff=Backoff(base=0.001, cap=0.01))


async def refusal(url: str, tokens: AuthTokens, log: pytest.LogCaptureFixture, times: ConnectTimes = TIMES) -> str:
    """The message of a connection that fails. Makes sure that neither it nor the log holds a secret."""
    log.set_level(logging.DEBUG, "dropzero")
    with pytest.raises(Unavailable) as refused:
        await Connector(Endpoint(HOME, url), tokens, times).connect()
    shown = "".join(traceback.format_exception(refused.value))
    shown += "".join(record.getMessage() for record in log.records if record.name.startswith("dropzero"))
    for secret in (SECRET_ACCESS_KEY, ACCESS_KEY_ID, "X-Amz-"):
        assert secret not in shown
    return str(refused.value)


@pytest.mark.parametrize("role", ["admin", "app"])
async def test_a_role_logs_in_with_a_token_of_its_own(home: StandIn, tokens: AuthTokens, role: str) -> None:
    connection = await Connector(Endpoint(HOME, home.url_as(role)), tokens, TIMES).connect()
    assert await connection.fetchval("SELECT current_user") == {"admin": "postgres"}.get(role, role)
    assert await connection.fetchval("SHOW application_name") == "dropzero"
    await connection.close()


async def test_without_aws_credentials_the_error_names_their_sources(
    home: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (*CREDENTIALS, "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert await refusal(home.url, AuthTokens(), caplog) == (
        f"{NO_CONNECTION}: no token can be signed: there are no AWS credentials; give this machine a role (ECS, EKS, "
        "EC2, Lambda), sign in with `aws sso login`, or name a profile with AWS_PROFILE"
    )
    assert home.connections_opened == 0


async def test_an_expired_token_is_signed_anew(home: StandIn, tokens: AuthTokens) -> None:
    home.expired_tokens = 1
    connection = await Connector(Endpoint(HOME, home.url), tokens, TIMES).connect()
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_tokens_that_expire_at_once_are_blamed_on_the_clock(
    home: StandIn, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    home.clock = lambda: utc_now() + timedelta(hours=1)
    message = await refusal(home.url, tokens, caplog)
    assert message.startswith(f"{NO_CONNECTION}: unable to accept connection, access denied HINT: Signature expired: ")
    assert message.endswith("; a new token has expired at once, so set the clock of this machine")
    assert home.connections_opened == 2


@pytest.mark.parametrize(
    ("role", "remedy"),
    [
        (
            "app",
            "allow this machine's AWS identity dsql:DbConnect on the cluster, and as admin: "
            "AWS IAM GRANT app TO 'ROLE ARN'",
        ),
        ("admin", "allow this machine's AWS identity dsql:DbConnectAdmin on the cluster"),
    ],
)
async def test_a_refusal_by_iam_says_what_to_allow(
    home: StandIn, tokens: AuthTokens, caplog: pytest.LogCaptureFixture, role: str, remedy: str
) -> None:
    home.revoked = {role}
    assert await refusal(home.url_as(role), tokens, caplog) == (
        f"{NO_CONNECTION} as {role}: unable to accept connection, access denied HINT: User: arn:aws:iam::123456789012:"
        f"role/app is not authorized to connect as {role}; {remedy}"
    )
    assert home.connections_opened == 1, "it would be refused again"


async def test_a_missing_role_is_to_be_created(
    home: StandIn, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    assert await refusal(home.url_as("nobody"), tokens, caplog) == (
        f'{NO_CONNECTION} as nobody: role "nobody" does not exist; as admin: CREATE ROLE nobody WITH LOGIN'
    )


async def test_a_certificate_that_does_not_verify_is_refused(
    home: StandIn, tokens: AuthTokens, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    for tls, reason in (
        (authority.context_for("elsewhere.example"), "Hostname mismatch, certificate is not valid for 'localhost'"),
        (authority.unknown_context(), "unable to get local issuer certificate"),
    ):
        home.tls = tls
        assert await refusal(home.url, tokens, caplog) == (
            f"{NO_CONNECTION}: its certificate does not verify: {reason}; this is not the endpoint that was asked "
            "for, or its certificate authority is not trusted here; check the host, the system's certificates, and "
            "sslrootcert if the URL has it"
        )


async def test_a_bad_file_of_certificate_authorities_is_named(
    home: StandIn, tokens: AuthTokens, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "none.pem").write_bytes(b"no certificate")
    for file, reason in (
        (tmp_path / "missing.pem", f"the file of sslrootcert cannot be read: {tmp_path / 'missing.pem'}"),
        (tmp_path / "none.pem", f"the file of sslrootcert holds no certificate: {tmp_path / 'none.pem'}"),
    ):
        url = home.url.replace(str(authority.file), str(file))
        assert await refusal(url, tokens, caplog) == f"{NO_CONNECTION}: {reason}"


async def test_an_unknown_host_is_named(home: StandIn, tokens: AuthTokens, caplog: pytest.LogCaptureFixture) -> None:
    assert await refusal(home.url.replace("localhost", "nowhere.invalid"), tokens, caplog) == (
        f"no connection to {HOME} (nowhere.invalid): no such host; check the cluster's id and Region "
        "(dropzero cluster status)"
    )


async def test_a_port_where_nothing_listens_is_named(
    home: StandIn, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    home.down()
    assert await refusal(home.url, tokens, caplog) == (
        f"{NO_CONNECTION}: nothing listens at port {home.port} there; check the port, 5432 unless the URL names one"
    )


async def test_an_endpoint_that_hangs_is_unavailable_after_the_timeout(
    home: StandIn, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    timeout = short(0.2)
    home.hang()
    assert await refusal(home.url, tokens, caplog, replace(TIMES, timeout=timeout)) == (
        f"{NO_CONNECTION}: no answer within {timeout:g} seconds; check that this network reaches port {home.port} there"
    )


async def test_a_cluster_with_too_many_connections_says_so(
    home: StandIn, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    home.refusing = True
    assert await refusal(home.url, tokens, caplog) == (
        f"{NO_CONNECTION}: Unable to accept connection, too many open connections; run fewer servers, or lower "
        "DROPZERO_CONNECTIONS"
    )


async def test_a_connection_is_retried_while_too_many_are_opened_at_once(home: StandIn, tokens: AuthTokens) -> None:
    home.rate_exceeded = 4
    connection = await Connector(Endpoint(HOME, home.url), tokens, TIMES).connect()
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    assert home.connections_opened == 5


async def test_a_cluster_that_accepts_no_more_connections_per_second_says_so(
    home: StandIn, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    home.rate_exceeded = 1000
    assert await refusal(home.url, tokens, caplog) == (
        f"{NO_CONNECTION}: Unable to accept connection, rate exceeded; the cluster accepts 100 new connections per "
        "second; start fewer servers at once"
    )
    assert home.connections_opened == TIMES.attempts


async def test_an_internal_error_at_the_login_is_unavailable(
    home: StandIn, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    home.internal_at_login = 1
    assert await refusal(home.url, tokens, caplog) == f"{NO_CONNECTION}: unable to accept connection, internal error"
    connection = await Connector(Endpoint(HOME, home.url), tokens, TIMES).connect()
    await connection.close()


async def test_a_server_without_tls_is_not_aurora_dsql(
    postgres_url: str, home: StandIn, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    async with FaultyEndpoint(postgres_url).listening() as plain:
        url = home.url.replace(str(home.port), str(urlsplit(plain.url).port))
        assert await refusal(url, tokens, caplog) == (
            f"{NO_CONNECTION}: it takes no TLS, so it is not Aurora DSQL; check the host and the port"
        )


async def test_a_connection_is_retried_while_an_idle_cluster_wakes_up(home: StandIn, tokens: AuthTokens) -> None:
    home.waking_up = 4
    connection = await Connector(Endpoint(HOME, home.url), tokens, TIMES).connect()
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_a_cluster_that_does_not_wake_up_raises_waking_up(home: StandIn, tokens: AuthTokens) -> None:
    home.waking_up = 1000
    with pytest.raises(WakingUp, match="waking up cluster, please retry later"):
        await Connector(Endpoint(HOME, home.url), tokens, TIMES).connect()
    assert home.connections_opened == 6


@pytest.mark.slow
async def test_a_server_that_starts_waits_for_an_idle_cluster(settings: Settings, home: StandIn) -> None:
    once = replace(PATIENT_TIMES.pool, connect=replace(TIMES, attempts=1))
    times = replace(PATIENT_TIMES, waking=PATIENCE, pool=once)
    home.waking_up = 1
    async with serving(replace(settings, endpoints=(Endpoint(HOME, home.url),), region_times=times)) as server:
        assert home.waking_up == 0
        assert (await server.data("{ regions { name healthy } }"))["regions"] == [{"name": HOME, "healthy": True}]


@pytest.fixture
async def newcomer(behind: Pool) -> str:
    """A role that may connect and has no other right."""
    with contextlib.suppress(asyncpg.DuplicateObjectError):  # roles belong to the whole server
        await behind.execute("CREATE ROLE newcomer LOGIN")
    return "newcomer"


async def test_missing_rights_on_the_tables_are_named_with_their_grants(
    behind: Pool, home: StandIn, newcomer: str, tokens: AuthTokens
) -> None:
    async with Regions((Endpoint(HOME, home.url_as(newcomer)),), 3, tokens, PATIENT_TIMES) as regions:
        with pytest.raises(MigrationError, match=f"run: GRANT SELECT ON schema_migrations TO {newcomer}$"):
            await require_ready_database(regions)
        await behind.execute(f"GRANT SELECT ON schema_migrations TO {newcomer}")
        for table, rights in GRANTS.items():
            for right in rights:
                with pytest.raises(RightsMissing) as missing:
                    await require_ready_database(regions)
                assert str(missing.value) == (
                    f"the server's database role may not {right} {table}; as the owner of the tables: "
                    f"GRANT {', '.join(rights)} ON {table} TO the role"
                )
                await behind.execute(f"GRANT {right} ON {table} TO {newcomer}")
        await require_ready_database(regions)


@pytest.mark.slow
async def test_a_command_without_a_connection_prints_the_reason(home: StandIn) -> None:
    home.revoked = {"app"}
    run = await command.dropzero("serve", "--port", "0", DROPZERO_ENDPOINTS=f"{HOME}={home.url}", **CREDENTIALS)
    assert run.status == 1
    *_, complaint = run.err.splitlines()
    assert complaint.startswith(f"dropzero: the database cannot be used: {NO_CONNECTION} as app: ")
    assert "; allow this machine's AWS identity dsql:DbConnect on the cluster, and as admin: AWS IAM GRANT" in complaint
    assert "Traceback" not in run.err


async def test_connections_that_open_together_do_not_retire_together(home: StandIn, tokens: AuthTokens) -> None:
    connector = Connector(Endpoint(HOME, home.url), tokens, TIMES)
    opened = await asyncio.gather(*(connector.connect() for _ in range(5)))
    lifetimes = {connection.retire_at - connection.opened_at for connection in opened}
    assert len(lifetimes) == 5
    least, most = TIMES.lifetime
    assert least <= min(lifetimes) < max(lifetimes) <= most
    assert most < 3600, "Aurora DSQL drops connections after an hour"
    for connection in opened:
        connection.terminate()

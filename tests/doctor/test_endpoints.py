"""What the doctor finds of an endpoint: its network, certificate, login, clock, and whether it can be written to."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.database.backoff import Backoff
from api.database.connect import ConnectTimes
from api.database.endpoint import Endpoint
from api.database.pool import Pool, PoolTimes
from api.database.tokens import AuthTokens
from api.doctor.credentials import check_credentials
from api.doctor.endpoints import check_endpoint
from api.doctor.finding import Finding, Level
from tests.doctor.findings import not_ok, only
from tests.dsql.certificates import HOST, Authority
from tests.dsql.stand_in import StandIn, utc_now
from tests.dsql.token import CREDENTIALS, SECRET_ACCESS_KEY
from tests.fixtures.databases import SECRET
from tests.patience import PATIENCE, short
from tests.pooler import pooling
from tests.regions import HOME
from tests.tls import tls_front

TIMES = PoolTimes(connect=ConnectTimes(timeout=PATIENCE, backoff=Backoff(base=0.001, cap=0.01)), acquire=PATIENCE)


async def examined(
    url: str,
    tokens: AuthTokens,
    times: PoolTimes = TIMES,
    now: Callable[[], float] = time.time,
    timeout: float = PATIENCE,
) -> list[Finding]:
    """What the doctor finds of an endpoint. No secret is in it."""
    async with Pool(Endpoint(HOME, url), 1, tokens, times) as pool:
        findings = await check_endpoint(pool, now, timeout)
    assert not [secret for secret in (SECRET_ACCESS_KEY, SECRET, "X-Amz") if secret in str(findings)]
    return findings


async def test_nothing_is_wrong_with_an_endpoint_that_works(home: StandIn, tokens: AuthTokens) -> None:
    findings = await examined(home.url, tokens)
    assert not_ok(findings) == []
    kinds = [finding.check.removeprefix(f"{HOME} ") for finding in findings]
    assert kinds == ["network", "TLS", "login", "latency", "clock", "writes", "statements"]
    assert re.fullmatch(r"the certificate verifies, and lasts [\d,]+ days", only(findings, f"{HOME} TLS").found)
    assert only(findings, f"{HOME} login").found == "as app, Aurora DSQL 16.15"


FAULTS: dict[str, tuple[Callable[[StandIn, Authority], object], str, str]] = {
    "nothing listens": (lambda home, _: home.down(), "network", "nothing listens at port"),
    "the certificate has expired": (
        lambda home, authority: setattr(home, "tls", authority.context_for(HOST, datetime(2026, 1, 1, tzinfo=UTC))),
        "login",
        "its certificate does not verify: certificate has expired",
    ),
    "the certificate is for another host": (
        lambda home, authority: setattr(home, "tls", authority.context_for("elsewhere.example")),
        "login",
        "Hostname mismatch",
    ),
    "its authority is unknown": (
        lambda home, authority: setattr(home, "tls", authority.unknown_context()),
        "login",
        "unable to get local issuer certificate",
    ),
    "IAM refuses the role": (
        lambda home, _: home.revoked.add("app"),
        "login",
        "access denied",
    ),
    "this machine's clock is behind": (
        lambda home, _: setattr(home, "clock", lambda: utc_now() + timedelta(hours=1)),
        "login",
        "Signature expired",
    ),
    "too many connections are open": (lambda home, _: setattr(home, "refusing", True), "login", "too many"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_an_endpoint_is_found(
    home: StandIn, tokens: AuthTokens, authority: Authority, fault: str
) -> None:
    cause, check, words = FAULTS[fault]
    cause(home, authority)
    [finding] = not_ok(await examined(home.url, tokens))
    assert (finding.check, finding.level) == (f"{HOME} {check}", Level.FAILED)
    assert words in finding.found
    if check == "login" and "IAM" in fault:
        assert "dsql:DbConnect" in finding.mend


async def test_an_endpoint_that_never_answers_is_found_in_time(home: StandIn, tokens: AuthTokens) -> None:
    timeout = short(0.2)
    home.hang()
    times = replace(TIMES, connect=replace(TIMES.connect, timeout=timeout))
    [finding] = not_ok(await examined(home.url, tokens, times, timeout=timeout))
    assert f"no answer within {timeout:g} seconds" in finding.found


async def test_a_certificate_that_ends_soon_is_worth_a_warning(
    home: StandIn, tokens: AuthTokens, authority: Authority
) -> None:
    home.tls = authority.context_for(HOST, datetime.now(UTC) + timedelta(days=3.4))
    [finding] = not_ok(await examined(home.url, tokens))
    assert (finding.level, finding.found) == (Level.WARNING, "the certificate verifies, and lasts 3 days")


@pytest.mark.parametrize(
    ("ahead", "level", "words"),
    [
        (700, Level.FAILED, "s ahead of the database's"),
        (-700, Level.FAILED, "s behind the database's"),
        (PATIENCE, Level.WARNING, "s ahead of the database's"),
    ],
)
async def test_a_clock_that_is_off_is_found(
    postgres_url: str, tokens: AuthTokens, ahead: float, level: Level, words: str
) -> None:
    [finding] = not_ok(await examined(postgres_url, tokens, now=lambda: time.time() + ahead))
    assert (finding.check, finding.level) == (f"{HOME} clock", level)
    assert words in finding.found


async def test_what_a_url_leaves_open_is_worth_a_warning(
    postgres_url: str, member: str, authority: Authority, tokens: AuthTokens
) -> None:
    database = postgres_url.split("?")[0].rpartition("/")[2]
    async with tls_front(postgres_url, authority.tls) as front:
        url = f"postgresql://{member}@{HOST}:{front.port}/{database}"
        verified = f"sslmode=verify-full&sslrootcert={authority.file}"
        assert not_ok(await examined(f"{url}?{verified}", tokens)) == []
        for query, words in (("sslmode=require", "any server that answers is trusted"), ("", "may be in clear text")):
            [finding] = not_ok(await examined(f"{url}?{query}", tokens))
            assert (finding.check, finding.level) == (f"{HOME} TLS", Level.WARNING)
            assert words in finding.found
        [finding] = not_ok(await examined(f"{url.replace(SECRET, 'wrong')}?{verified}", tokens))
        assert (finding.check, finding.level) == (f"{HOME} login", Level.FAILED)
        assert 'password authentication failed for user "member"' in finding.found


async def test_an_endpoint_that_takes_no_writes_is_found(postgres_url: str, tokens: AuthTokens) -> None:
    url = f"{postgres_url}&options=-c%20default_transaction_read_only%3Don"
    [finding] = not_ok(await examined(url, tokens))
    assert (finding.check, finding.level) == (f"{HOME} writes", Level.FAILED)


async def test_a_pooler_that_loses_statements_is_found(postgres_url: str, tokens: AuthTokens) -> None:
    async with pooling(postgres_url, pool_mode="statement") as url:
        findings = not_ok(await examined(url, tokens))
    assert only(findings, f"{HOME} statements").level is Level.FAILED


async def test_credentials_are_named_without_their_secrets(
    home: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dsql = Endpoint(HOME, home.url).dsql
    assert dsql is not None
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")  # a network without a way to STS
    signed, long_lived = await check_credentials(HOME, dsql, AuthTokens())
    assert (signed.level, signed.found) == (Level.OK, "a token can be signed, from env")
    assert (long_lived.level, long_lived.found) == (Level.WARNING, "the access key never expires")

    for name in (*CREDENTIALS, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    [none] = await check_credentials(HOME, dsql, AuthTokens())
    assert none.level is Level.FAILED
    assert "there are no AWS credentials" in none.found
    assert "aws sso login" in none.mend

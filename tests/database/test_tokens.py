"""The tokens that are the passwords of Aurora DSQL, and the credentials that sign them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from api.database.endpoint import DsqlAddress
from api.database.tokens import AuthTokens
from api.database.web_identity import NoToken, WebIdentity
from tests.listener import running

HOST = "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws"
ROLE_ARN = "arn:aws:iam::123456789012:role/dropzero"


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without AWS credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def give_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-key")


def read(token: str) -> tuple[str, dict[str, str]]:
    """The host and the parameters of a token."""
    parts = urlsplit(f"https://{token}")
    return parts.netloc, {name: value for name, [value] in parse_qs(parts.query).items()}


@pytest.mark.parametrize(("role", "action"), [("app", "DbConnect"), ("admin", "DbConnectAdmin")])
async def test_a_token_names_the_action_the_host_and_the_region(
    monkeypatch: pytest.MonkeyPatch, role: str, action: str
) -> None:
    give_credentials(monkeypatch)
    token = await AuthTokens().token("us-east-1", DsqlAddress(HOST, role=role))
    host, parameters = read(token)
    assert host.rstrip("/") == HOST
    assert parameters["Action"] == action
    assert parameters["X-Amz-Credential"].split("/")[0::2] == ["AKIDEXAMPLE", "us-east-1", "aws4_request"]
    assert parameters["X-Amz-Expires"] == "900"
    assert "the-secret-key" not in token


async def test_one_client_signs_for_all_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    give_credentials(monkeypatch)
    tokens = AuthTokens()
    regions = ["us-east-1", "us-east-2"] * 20
    signed = await asyncio.gather(*(tokens.token(region, DsqlAddress(HOST)) for region in regions))
    assert [read(token)[1]["X-Amz-Credential"].split("/")[2] for token in signed] == regions


async def test_a_machine_without_credentials_may_get_them_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = AuthTokens()
    with pytest.raises(NoToken, match=r"there are no AWS credentials; give this machine a role .* AWS_PROFILE"):
        await tokens.token("us-east-1", DsqlAddress(HOST))
    give_credentials(monkeypatch)
    assert "AKIDEXAMPLE" in await tokens.token("us-east-1", DsqlAddress(HOST))


async def test_the_missing_half_of_the_credentials_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    with pytest.raises(NoToken, match="missing: AWS_SECRET_ACCESS_KEY"):
        await AuthTokens().token("us-east-1", DsqlAddress(HOST))


@dataclass
class Sts:
    """AWS STS, as far as a web identity needs it. `lifetime`: of its credentials. `sent`: the requests that it got."""

    lifetime: timedelta = timedelta(hours=1)
    refuses: bool = False
    sent: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.sent.append({name: str(value) for name, value in (await request.post()).items()})
        if self.refuses:
            error = "<Code>ExpiredTokenException</Code><Message>Token expired</Message><Type>Sender</Type>"
            return web.Response(status=400, text=f"<ErrorResponse><Error>{error}</Error></ErrorResponse>")
        expiration = (datetime.now(UTC) + self.lifetime).isoformat()
        credentials = (
            f"<AccessKeyId>ASIA{len(self.sent)}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            f"<SessionToken>session-{len(self.sent)}</SessionToken><Expiration>{expiration}</Expiration>"
        )
        result = f"<AssumeRoleWithWebIdentityResult><Credentials>{credentials}</Credentials>"
        return web.Response(
            content_type="text/xml",
            text=f"<AssumeRoleWithWebIdentityResponse>{result}</AssumeRoleWithWebIdentityResult>"
            "</AssumeRoleWithWebIdentityResponse>",
        )


@pytest.fixture
async def sts(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sts]:
    sts = Sts()
    app = web.Application()
    app.router.add_post("/", sts.answer)
    async with running(web.AppRunner(app)) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        yield sts


def key_of(token: str) -> str:
    return read(token)[1]["X-Amz-Credential"].split("/")[0]


async def test_an_oidc_token_is_exchanged_for_credentials_once_and_they_are_kept(sts: Sts) -> None:
    identity = WebIdentity(ROLE_ARN, None, from_requests=True)
    identity.accept("first.oidc.token")
    tokens = AuthTokens(identity)
    signed = [await tokens.token("us-east-1", DsqlAddress(HOST)) for _ in range(5)]
    assert {key_of(token) for token in signed} == {"ASIA1"}
    assert read(signed[0])[1]["X-Amz-Security-Token"] == "session-1"
    [sent] = sts.sent
    assert (sent["Action"], sent["RoleArn"]) == ("AssumeRoleWithWebIdentity", ROLE_ARN)
    assert (sent["WebIdentityToken"], sent["RoleSessionName"]) == ("first.oidc.token", "dropzero")


async def test_credentials_that_expire_are_exchanged_anew_for_the_latest_token(sts: Sts) -> None:
    sts.lifetime = timedelta(minutes=5)  # botocore refreshes 10 minutes before their end at the latest
    identity = WebIdentity(ROLE_ARN, "first.oidc.token", from_requests=False)
    tokens = AuthTokens(identity)
    assert key_of(await tokens.token("us-east-1", DsqlAddress(HOST))) == "ASIA1"
    identity.accept("second.oidc.token")
    assert key_of(await tokens.token("us-east-1", DsqlAddress(HOST))) == "ASIA2"
    assert [sent["WebIdentityToken"] for sent in sts.sent] == ["first.oidc.token", "second.oidc.token"]


async def test_without_an_oidc_token_the_error_names_its_source(sts: Sts) -> None:
    with pytest.raises(NoToken, match="no OIDC token has come yet; it comes with the first request"):
        await AuthTokens(WebIdentity(ROLE_ARN, None, from_requests=True)).token("us-east-1", DsqlAddress(HOST))
    assert sts.sent == []


async def test_a_refusal_of_sts_is_reported_without_the_token(sts: Sts) -> None:
    sts.refuses = True
    identity = WebIdentity(ROLE_ARN, "first.oidc.token", from_requests=False)
    with pytest.raises(NoToken, match=r"ExpiredTokenException.*Token expired") as refusal:
        await AuthTokens(identity).token("us-east-1", DsqlAddress(HOST))
    assert "first.oidc.token" not in str(refusal.value)


@pytest.mark.parametrize("header", ["", "x" * 20_000])
def test_a_header_that_is_not_a_token_is_ignored(header: str) -> None:
    identity = WebIdentity(ROLE_ARN, None, from_requests=True)
    identity.accept(header)
    assert not identity.arrived

"""The issuer's keys: read at the start, for a new key, once in a while; and an issuer that is down, slow or lying."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
from aiohttp import web

from api.identity import issuer_keys
from api.identity.claims import IssuerAway, TokenRefused
from api.identity.issuer import Issuer
from api.identity.issuer_keys import MAX_ANSWER, IssuerTimes
from api.identity.issuer_settings import IssuerSettings
from tests.clock import pass_time
from tests.identity.shop_issuer import (
    AUDIENCE,
    DESCRIPTION,
    KEYS,
    NOW,
    Answer,
    ShopIssuer,
    SigningKey,
    answering,
    shop_issuer,
)
from tests.patience import PATIENCE, short, until

TIMES = IssuerTimes(deadline=PATIENCE)
OLD, NEW = SigningKey("old"), SigningKey("new", number=1)


@asynccontextmanager
async def started(shop: ShopIssuer, times: IssuerTimes = TIMES) -> AsyncIterator[Issuer]:
    """An issuer whose keys are being read. The clock of the tokens stands still."""
    issuer = Issuer(IssuerSettings(shop.url, frozenset({AUDIENCE})), times, lambda: NOW)
    issuer.start()
    try:
        yield issuer
    finally:
        await issuer.close()


@pytest.fixture
async def shop() -> AsyncIterator[ShopIssuer]:
    async with shop_issuer() as shop:
        shop.keys = [OLD]
        yield shop


@pytest.fixture
async def issuer(shop: ShopIssuer) -> AsyncIterator[Issuer]:
    async with started(shop) as issuer:
        await issuer.verify(shop.token("the first"))
        yield issuer


async def is_valid(issuer: Issuer, token: str) -> bool:
    """Whether the token is verified now."""
    try:
        await issuer.verify(token)
    except (TokenRefused, IssuerAway):
        return False
    return True


async def pass_slowly(seconds: float) -> None:
    """Let time pass in steps of a second, so that every task gets to its next timer in between."""
    for _ in range(round(seconds)):
        pass_time(1)
        for _ in range(5):
            await asyncio.sleep(0)


async def test_the_first_tokens_share_the_first_reading(shop: ShopIssuer) -> None:
    async with started(shop) as issuer:
        await asyncio.gather(*(issuer.verify(shop.token(f"buyer-{number}")) for number in range(100)))
    assert shop.requests == {DESCRIPTION: 1, KEYS: 1}


class TestRotation:
    async def test_keys_are_rotated_under_load_without_a_refusal(self, shop: ShopIssuer) -> None:
        refused: list[str] = []

        async def buy(number: int) -> None:
            for turn in range(50):
                key = shop.keys[-1]
                try:
                    await verifier.verify(key.token(shop.claims(f"buyer-{number}-{turn}")))
                except TokenRefused as error:
                    refused.append(f"{key.key_id}: {error}")
                await asyncio.sleep(0)

        async with started(shop) as verifier:
            await verifier.verify(shop.token())
            await pass_slowly(TIMES.between)
            buyers = asyncio.gather(*(buy(number) for number in range(20)))
            await asyncio.sleep(0)
            shop.keys = [OLD, NEW]
            await buyers
            assert refused == []
            assert shop.readings == 2
            assert await is_valid(verifier, OLD.token(shop.claims("lin")))

    async def test_a_withdrawn_key_ends_also_for_remembered_tokens(self, issuer: Issuer, shop: ShopIssuer) -> None:
        remembered, fresh = OLD.token(shop.claims("ada")), OLD.token(shop.claims("grace"))
        await issuer.verify(remembered)
        shop.keys = [NEW]
        assert await is_valid(issuer, remembered)
        await pass_slowly(TIMES.refresh + 1)
        await until(lambda: shop.readings == 2)
        await until(partial(is_valid, issuer, NEW.token(shop.claims())))
        assert not await is_valid(issuer, remembered)
        assert not await is_valid(issuer, fresh)

    async def test_tokens_of_a_kept_key_stay_remembered(
        self, issuer: Issuer, shop: ShopIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remembered = OLD.token(shop.claims("ada"))
        await issuer.verify(remembered)
        shop.keys = [OLD, NEW]
        await pass_slowly(TIMES.between)
        await until(partial(is_valid, issuer, NEW.token(shop.claims())))
        monkeypatch.setattr("api.identity.json_web_keys.VerificationKey.verifies", lambda key, token: False)
        assert await is_valid(issuer, remembered)

    async def test_another_key_under_the_same_id_ends_the_one_before(self, issuer: Issuer, shop: ShopIssuer) -> None:
        remembered = OLD.token(shop.claims("ada"))
        await issuer.verify(remembered)
        shop.keys = [replace(NEW, key_id=OLD.key_id)]
        await pass_slowly(TIMES.refresh + 1)
        await until(partial(is_valid, issuer, shop.token()))
        assert not await is_valid(issuer, remembered)


class TestGarbage:
    async def test_a_thousand_unknown_keys_cause_one_reading(self, issuer: Issuer, shop: ShopIssuer) -> None:
        await pass_slowly(TIMES.between)
        garbage = [SigningKey(f"key-{number}").token(shop.claims()) for number in range(1000)]
        valid = await asyncio.gather(*(is_valid(issuer, token) for token in garbage))
        assert not any(valid)
        assert shop.requests == {DESCRIPTION: 2, KEYS: 2}
        assert not any([await is_valid(issuer, token) for token in garbage])
        assert shop.requests == {DESCRIPTION: 2, KEYS: 2}

    async def test_a_token_that_is_not_for_this_shop_causes_none(self, issuer: Issuer, shop: ShopIssuer) -> None:
        await pass_slowly(TIMES.between)
        for claims in ({"iss": "https://elsewhere.example"}, {"aud": "other"}, {"exp": NOW - 60}, {"sub": ""}):
            assert not await is_valid(issuer, NEW.token({**shop.claims(), **claims}))
        assert shop.readings == 1
        assert not await is_valid(issuer, NEW.token(shop.claims()))
        assert shop.readings == 2

    async def test_the_tokens_that_wait_are_bounded(self, shop: ShopIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(issuer_keys, "MAX_WAITING", 3)
        answer, release = held(answering(b"{}"))
        shop.answers[DESCRIPTION] = answer
        async with started(shop) as issuer:
            waiting = [asyncio.create_task(issuer.verify(shop.token(f"{number}"))) for number in range(3)]
            await until(lambda: shop.readings == 1)
            with pytest.raises(IssuerAway, match="too slowly"):
                await issuer.verify(shop.token("one too many"))
            del shop.answers[DESCRIPTION]
            release()
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(result) for result in results] == [IssuerAway] * 3


def held(answer: Answer) -> tuple[Answer, Callable[[], None]]:
    """An answer that comes only once the function is called."""
    released = asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        await released.wait()
        return await answer(request)

    return wait, released.set


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "dropzero.identity"]


class TestAway:
    async def test_a_server_starts_without_its_issuer_and_finds_it_later(
        self, shop: ShopIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "dropzero.identity")
        shop.answers[DESCRIPTION] = answering(b"", 503)
        async with started(shop) as issuer:
            with pytest.raises(IssuerAway, match="cannot be reached right now"):
                await issuer.verify(shop.token())
            await pass_slowly(3 * TIMES.retry)
            await until(lambda: shop.readings >= 2)
            shop.answers.clear()
            await pass_slowly(TIMES.retry)
            await until(partial(is_valid, issuer, shop.token()))
        first, last = lines_of(caplog)
        assert f"{shop.url} is away; no token can be checked until it answers" in first
        assert f"{shop.url} answers again, after" in last

    async def test_an_issuer_that_nobody_listens_at_is_away(self, shop: ShopIssuer) -> None:
        async with shop_issuer() as gone:
            token = gone.token()
        async with started(gone) as issuer:
            with pytest.raises(IssuerAway):
                await issuer.verify(token)
            assert issuer.away

    async def test_the_last_good_keys_are_kept(
        self, issuer: Issuer, shop: ShopIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "dropzero.identity")
        shop.answers[KEYS] = answering(b"", 500)
        await pass_slowly(TIMES.refresh + 1)
        await until(lambda: issuer.away)
        assert await is_valid(issuer, OLD.token(shop.claims("grace")))
        with pytest.raises(IssuerAway):
            await issuer.verify(NEW.token(shop.claims()))
        shop.keys = [OLD, NEW]
        shop.answers.clear()
        await pass_slowly(TIMES.retry)
        await until(partial(is_valid, issuer, NEW.token(shop.claims())))
        assert not issuer.away
        first, last = lines_of(caplog)
        assert f"{shop.url} is away; tokens are checked with its last keys: {shop.url}{KEYS} answered 500" in first
        assert "answers again" in last

    async def test_an_issuer_that_never_answers_is_away_after_the_deadline(
        self, shop: ShopIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        shop.answers[KEYS], release = held(answering(b"{}"))
        async with started(shop, replace(TIMES, deadline=short(0.2))) as issuer:
            with pytest.raises(IssuerAway):
                await issuer.verify(shop.token())
        assert "no answer within" in caplog.text
        release()

    async def test_an_issuer_that_never_finishes_its_answer_is_away_too(self, shop: ShopIssuer) -> None:
        async def drip(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                while True:
                    await response.write(b" ")
                    await asyncio.sleep(0.01)
            return response

        shop.answers[DESCRIPTION] = drip
        async with started(shop, replace(TIMES, deadline=short(0.2))) as issuer:
            with pytest.raises(IssuerAway):
                await issuer.verify(shop.token())

    async def test_tokens_that_wait_are_answered_when_the_server_stops(self, shop: ShopIssuer) -> None:
        shop.answers[DESCRIPTION], release = held(answering(b"{}"))
        async with started(shop) as issuer:
            waiting = asyncio.create_task(issuer.verify(shop.token()))
            await until(lambda: shop.readings == 1)
        with pytest.raises(IssuerAway):
            await waiting
        release()


class TestLies:
    @pytest.mark.parametrize(
        ("path", "answer", "reason"),
        [
            (DESCRIPTION, answering(b'{"issuer": "https://elsewhere.example"}'), "names 'https://elsewhere.example'"),
            (DESCRIPTION, answering(b"<html>"), "did not answer with a JSON object"),
            (DESCRIPTION, answering(b"[]"), "did not answer with a JSON object"),
            (DESCRIPTION, answering(b"", 404), "answered 404, not 200"),
            (DESCRIPTION, answering(b"", 302, {"location": "/elsewhere"}), "answered 302, not 200"),
            (DESCRIPTION, answering(b"{" + b" " * MAX_ANSWER), f"more than {MAX_ANSWER} bytes"),
            (KEYS, answering(b"", 307, {"location": "http://127.0.0.1:1/"}), "answered 307, not 200"),
            (KEYS, answering(b" " * (MAX_ANSWER + 1)), f"more than {MAX_ANSWER} bytes"),
            (KEYS, answering(b'{"keys": 5}'), "has no key"),
            (KEYS, answering(b'{"keys": []}'), "has no key"),
            (KEYS, answering(b'{"keys": [5, null, {"kty": []}, {"kty": "oct", "k": "AAAA"}]}'), "has no key"),
            (KEYS, answering(b"{}", headers={"content-encoding": "gzip"}), "has no key"),
        ],
        ids=lambda value: None if callable(value) else str(value)[:40],
    )
    async def test_an_answer_that_is_not_an_issuers_changes_no_key(
        self, shop: ShopIssuer, path: str, answer: Answer, reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with started(shop) as issuer:
            await issuer.verify(shop.token())
            shop.answers[path] = answer
            await pass_slowly(TIMES.refresh + 1)
            await until(lambda: issuer.away)
            assert reason in caplog.text
            assert await is_valid(issuer, shop.token("grace"))

    @pytest.mark.parametrize(
        "address", [None, 5, "http://sign-in.example/keys", "ftp://127.0.0.1/keys", "file:///etc/passwd", "https://"]
    )
    async def test_keys_are_read_only_from_a_safe_address(
        self, shop: ShopIssuer, address: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        description = {"issuer": shop.url, "jwks_uri": address}
        monkeypatch.setattr(ShopIssuer, "description", description)
        async with started(shop) as issuer:
            with pytest.raises(IssuerAway):
                await issuer.verify(shop.token())
        assert "no jwks_uri with https://" in caplog.text

    async def test_a_defect_is_logged_and_the_keys_are_read_again(
        self, shop: ShopIssuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(issuer_keys, "read_keys", lambda members: 1 / 0)
            async with started(shop) as issuer:
                with pytest.raises(IssuerAway):
                    await issuer.verify(shop.token())
                assert "ZeroDivisionError" in caplog.text
                broken.undo()
                await pass_slowly(TIMES.retry)
                await until(partial(is_valid, issuer, shop.token()))

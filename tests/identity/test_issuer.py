"""Tokens of the shop's issuer: which are valid, what they say, and what a forger tries."""

import hmac
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from api.identity import issuer as issuer_module
from api.identity.claims import Claims, TokenRefused
from api.identity.issuer import Issuer
from api.identity.issuer_keys import IssuerTimes
from api.identity.issuer_settings import IssuerSettings
from api.identity.json_web_keys import ALGORITHMS, VerificationKey
from api.identity.signed_token import MAX_TOKEN
from tests.clock import pass_time
from tests.identity.shop_issuer import (
    AUDIENCE,
    KINDS,
    LIFE,
    NOW,
    ShopIssuer,
    SigningKey,
    encoded,
    shop_issuer,
    token_of,
)
from tests.patience import PATIENCE, until

TIMES = IssuerTimes(deadline=PATIENCE)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def shop() -> AsyncIterator[ShopIssuer]:
    async with shop_issuer() as shop:
        yield shop


def settings_for(shop: ShopIssuer, **others: Any) -> IssuerSettings:
    return replace(IssuerSettings(shop.url, frozenset({AUDIENCE})), **others)


@pytest.fixture
async def issuer(shop: ShopIssuer, clock: Clock) -> AsyncIterator[Issuer]:
    issuer = Issuer(settings_for(shop), TIMES, clock)
    issuer.start()
    yield issuer
    await issuer.close()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The algorithms of the signatures that were checked, in order."""
    checked: list[str] = []
    verifies = VerificationKey.verifies

    def counted(self: VerificationKey, token: Any) -> bool:
        checked.append(token.algorithm)
        return verifies(self, token)

    monkeypatch.setattr(VerificationKey, "verifies", counted)
    return checked


async def refusal(issuer: Issuer, token: str) -> str:
    """The message for a token that is refused. It has no part of the token."""
    with pytest.raises(TokenRefused) as refused:
        await issuer.verify(token)
    message = str(refused.value)
    assert not [part for part in token.split(".") if len(part) > 4 and part in message]
    return message


async def test_a_valid_token_says_who_its_bearer_is(issuer: Issuer, shop: ShopIssuer) -> None:
    claims = await issuer.verify(shop.token("ada"))
    assert claims == Claims("ada", frozenset(), guest=False, expires_at=NOW + LIFE + TIMES.leeway)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_asymmetric_algorithm_is_verified(issuer: Issuer, shop: ShopIssuer, algorithm: str) -> None:
    shop.keys = [SigningKey("other"), SigningKey("one", algorithm)]
    token = shop.token("ada")
    assert (await issuer.verify(token)).subject == "ada"
    head, _, signature = token.rpartition(".")
    forged = f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    assert "signature is not by the issuer" in await refusal(issuer, forged)


def test_the_tests_know_every_algorithm() -> None:
    assert set(KINDS) == set(ALGORITHMS)


async def is_valid(issuer: Issuer, token: str) -> bool:
    """Whether the token is verified now. Asking again leads to a new reading of the keys as soon as one is allowed."""
    try:
        await issuer.verify(token)
    except TokenRefused:
        return False
    return True


class TestForgeries:
    async def test_a_token_without_a_signature_is_refused(self, issuer: Issuer, shop: ShopIssuer) -> None:
        for name in ("none", "None", "NONE", ""):
            header = {"alg": name, "kid": "first"}
            assert "not signed with any of RS256" in await refusal(
                issuer, token_of(header, shop.claims(), lambda _: b"")
            )

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
    async def test_a_public_key_is_no_secret_for_hs256(self, issuer: Issuer, shop: ShopIssuer, algorithm: str) -> None:
        key = SigningKey("one", algorithm)
        shop.keys = [key]
        assert (await issuer.verify(shop.token())).subject == "ada"
        public = key.private
        for secret in (public.as_pem(private=False), public.as_der(private=False)):  # type: ignore[union-attr]
            sign = partial(hmac.digest, secret, digest="sha256")
            forged = token_of({"alg": "HS256", "kid": "one"}, shop.claims(), sign)
            assert "not signed with any of RS256" in await refusal(issuer, forged)

    async def test_a_key_that_the_token_brings_along_is_not_used(self, issuer: Issuer, shop: ShopIssuer) -> None:
        own = SigningKey("first", number=1)
        token = own.token(shop.claims(), jwk=own.public, jku="http://127.0.0.1:1/keys", x5u="http://127.0.0.1:1/")
        assert "signature is not by the issuer" in await refusal(issuer, token)

    async def test_a_token_of_another_issuer_with_the_same_key_id_is_refused(
        self, issuer: Issuer, shop: ShopIssuer
    ) -> None:
        foreign = SigningKey("first", number=2)
        assert "signature is not by the issuer" in await refusal(issuer, foreign.token(shop.claims()))
        honest = foreign.token(shop.claims(iss="https://elsewhere.example"))
        assert f"not from the issuer of this shop, {shop.url}" in await refusal(issuer, honest)

    async def test_changed_claims_do_not_fit_the_signature(self, issuer: Issuer, shop: ShopIssuer) -> None:
        head, _, signature = shop.token("ada").split(".")
        assert "signature is not by" in await refusal(issuer, f"{head}.{encoded(shop.claims('grace'))}.{signature}")

    async def test_a_key_is_used_only_with_its_own_algorithm(self, issuer: Issuer, shop: ShopIssuer) -> None:
        published, other = SigningKey("one", "RS256"), SigningKey("one", "PS256")
        assert published.private is other.private
        shop.keys = [published]
        assert "does not publish" in await refusal(issuer, other.token(shop.claims()))

    @pytest.mark.parametrize(
        "member",
        [
            {"use": "enc"},
            {"key_ops": ["sign"]},
            {"key_ops": "verify"},
            {"kty": "RSA"},
            {"crv": "P-384"},
            {"alg": "HS256"},
            {"x": 5},
            {"x": "not on the curve"},
            {"kid": 7},
        ],
        ids=repr,
    )
    async def test_a_key_that_is_not_for_these_signatures_is_skipped(
        self, issuer: Issuer, shop: ShopIssuer, member: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = SigningKey("wrong")
        monkeypatch.setattr(SigningKey, "public", property(lambda key: _published(key, wrong, member)))
        shop.keys = [SigningKey("right", number=1), wrong]
        assert (await issuer.verify(SigningKey("right", number=1).token(shop.claims()))).subject == "ada"
        assert "does not publish" in await refusal(issuer, wrong.token(shop.claims()))

    async def test_a_short_rsa_key_is_skipped(self, shop: ShopIssuer) -> None:
        short = {"kty": "RSA", "e": "AQAB", "n": encoded(b"\xff" * 128)}
        assert VerificationKey.read(short) is None
        assert VerificationKey.read({**short, "n": encoded(b"\xff" * 256)}) is not None
        assert VerificationKey.read({**short, "n": encoded(b"\xff" * 1025)}) is None

    @pytest.mark.parametrize(
        "header",
        [{"typ": "logout+jwt"}, {"typ": "secevent+jwt"}, {"typ": "dpop+jwt"}, {"crit": ["exp"]}, {"crit": []}],
        ids=repr,
    )
    async def test_other_things_that_the_issuer_signs_are_no_tokens(
        self, issuer: Issuer, shop: ShopIssuer, header: dict[str, Any]
    ) -> None:
        assert "not an access token" in await refusal(issuer, shop.keys[0].token(shop.claims(), **header))

    @pytest.mark.parametrize("kind", ["at+jwt", "JWT", "jwt", "application/at+jwt"])
    async def test_the_types_of_access_tokens_are_accepted(self, issuer: Issuer, shop: ShopIssuer, kind: str) -> None:
        assert (await issuer.verify(shop.keys[0].token(shop.claims(), typ=kind))).subject == "ada"


def _published(key: SigningKey, wrong: SigningKey, member: dict[str, Any]) -> dict[str, Any]:
    published = {**key.private.as_dict(private=False), "kid": key.key_id}
    return {**published, **member} if key == wrong else published


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "é.é.é",
        "a.b.c",
        f"{encoded(b'[]')}.{encoded({})}.AA",
        f"{encoded({'alg': 5})}.{encoded({})}.AA",
        f"{encoded({'alg': 'ES256', 'kid': 5})}.{encoded({})}.AA",
        f"{encoded({'alg': 'ES256', 'typ': 5})}.{encoded({})}.AA",
        f"{encoded({'alg': 'ES256'})}.{encoded(b'null')}.AA",
        f"{encoded({'alg': 'ES256'})}.{encoded({})}.A",
        f"{encoded({'alg': 'ES256'})}.{encoded(b'[' * 3000)}.AA",
        f"{encoded({'alg': 'ES256'})}.{encoded({})}.A+A/",
    ],
    ids=lambda token: repr(token[:40]),
)
async def test_what_is_no_token_is_refused(issuer: Issuer, token: str) -> None:
    assert "not a JSON Web Token" in await refusal(issuer, token)


async def test_a_token_has_a_size(issuer: Issuer, shop: ShopIssuer) -> None:
    assert (await issuer.verify(shop.token(note="x" * 5000))).subject == "ada"
    assert f"can have {MAX_TOKEN} characters" in await refusal(issuer, shop.token(note="x" * 7000))


class TestTimes:
    @pytest.mark.parametrize(
        ("claims", "message"),
        [
            ({"exp": NOW - 29.9}, ""),
            ({"exp": NOW - 30}, "has expired"),
            ({"exp": None}, "never expires"),
            ({"exp": True}, "claim exp must be a moment"),
            ({"exp": "1800000900"}, "claim exp must be a moment"),
            ({"exp": 1e300}, "claim exp must be a moment"),
            ({"nbf": NOW + 30}, ""),
            ({"nbf": NOW + 30.1}, "not valid yet, by its claim nbf"),
            ({"nbf": []}, "claim nbf must be a moment"),
            ({"iat": NOW + 30}, ""),
            ({"iat": NOW + 30.1}, "not valid yet, by its claim iat"),
            ({"iat": -1}, "claim iat must be a moment"),
            ({"iat": None, "nbf": None}, ""),
        ],
        ids=repr,
    )
    async def test_a_token_is_valid_in_its_time(
        self, issuer: Issuer, shop: ShopIssuer, claims: dict[str, Any], message: str
    ) -> None:
        token = shop.token(**claims)
        if message:
            assert message in await refusal(issuer, token)
        else:
            assert (await issuer.verify(token)).subject == "ada"

    async def test_a_remembered_token_ends_at_the_same_moment(
        self, issuer: Issuer, shop: ShopIssuer, clock: Clock
    ) -> None:
        token = shop.token(exp=NOW + 10)
        claims = await issuer.verify(token)
        assert claims.expires_at == NOW + 10 + TIMES.leeway
        clock.now = claims.expires_at - 0.1
        assert await issuer.verify(token) == claims
        clock.now = claims.expires_at
        assert "has expired" in await refusal(issuer, token)


class TestMemory:
    async def test_a_token_is_verified_once_in_a_while(
        self, issuer: Issuer, shop: ShopIssuer, clock: Clock, checks: list[str]
    ) -> None:
        token = shop.token()
        for _ in range(3):
            await issuer.verify(token)
        clock.now += TIMES.remember - 1
        await issuer.verify(token)
        assert checks == ["ES256"]
        clock.now += 1
        await issuer.verify(token)
        assert checks == ["ES256"] * 2

    async def test_it_is_bounded_and_forgets_the_oldest(
        self, issuer: Issuer, shop: ShopIssuer, checks: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(issuer_module, "MAX_REMEMBERED", 2)
        ada, grace, lin = (shop.token(subject) for subject in ("ada", "grace", "lin"))
        for token in (ada, grace, lin, grace, lin):
            await issuer.verify(token)
        assert len(checks) == 3
        await issuer.verify(ada)
        assert len(checks) == 4

    async def test_tokens_that_differ_in_one_character_are_different(self, issuer: Issuer, shop: ShopIssuer) -> None:
        token = shop.token()
        await issuer.verify(token)
        assert "signature is not by" in await refusal(
            issuer, token[:-9] + ("A" if token[-9] != "A" else "B") + token[-8:]
        )


async def test_garbage_costs_no_check_of_a_signature(issuer: Issuer, shop: ShopIssuer, checks: list[str]) -> None:
    key = SigningKey("first", number=1)
    garbage = [
        *(f"{number}.b.c" for number in range(200)),
        *(key.token(shop.claims(iss=f"https://{number}.example")) for number in range(200)),
        *(key.token(shop.claims(aud=f"{number}")) for number in range(200)),
        *(key.token(shop.claims(f"{number}", exp=NOW - 60)) for number in range(200)),
        *(token_of({"alg": "HS256"}, shop.claims(f"{number}"), lambda _: b"x" * 32) for number in range(200)),
    ]
    assert len(set(garbage)) == 1000
    for token in garbage:
        await refusal(issuer, token)
    assert checks == []
    assert shop.readings <= 1


async def test_a_token_may_leave_its_key_out_while_there_is_one(issuer: Issuer, shop: ShopIssuer) -> None:
    one, other = SigningKey("one"), SigningKey("other", number=1)
    shop.keys = [one]
    for subject in ("ada", "grace"):
        assert (await issuer.verify(nameless(one, shop.claims(subject)))).subject == subject
    shop.keys = [one, other]
    pass_time(TIMES.between)
    await until(partial(is_valid, issuer, other.token(shop.claims())))
    assert "does not publish" in await refusal(issuer, nameless(one, shop.claims("lin")))


def nameless(key: SigningKey, claims: dict[str, Any]) -> str:
    """A token that does not say with which key it is signed."""
    return token_of({"alg": key.algorithm}, claims, key.sign)

"""What a shop configures of its issuer: safe addresses, audiences, subjects and roles."""

from typing import Any

import pytest

from api.drops.errors import InvalidInput
from api.drops.limits import MAX_TEXT, checked_text
from api.identity.claims import MAX_SUBJECT, Claims, TokenRefused, is_subject
from api.identity.issuer_settings import IssuerSettings
from api.identity.signed_token import SignedToken

ISSUER = "https://sign-in.shop.example/realms/shop"
NOW = 1_800_000_000.0
ROLES = {"shop-admins": "operator", "help-desk": "support"}


def claims_of(settings: IssuerSettings, **said: Any) -> Claims:
    claims = {"iss": ISSUER, "aud": "the-shop", "sub": "ada", "exp": NOW + 60, **said}
    token = SignedToken("ES256", "one", {name: value for name, value in claims.items() if value is not None}, b"", b"")
    return settings.claims_of(token, NOW, 30)


def settings(**others: Any) -> IssuerSettings:
    return IssuerSettings(**{"issuer": ISSUER, "audience": frozenset({"the-shop", "the-app"}), **others})


@pytest.mark.parametrize(
    "issuer",
    [
        "https://shop.example",
        "https://shop.eu.auth0.com/",
        "http://localhost:8080/realms/shop",
        "http://127.0.0.1:1",
        "http://[::1]:1",
    ],
)
def test_an_issuer_is_at_a_safe_address(issuer: str) -> None:
    assert settings(issuer=issuer).discovery == f"{issuer.rstrip('/')}/.well-known/openid-configuration"


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "shop.example",
        "http://shop.example",
        "http://localhost.shop.example",
        "http://10.0.0.1",
        "ftp://shop.example",
        "https://",
        "https://user@shop.example",
        "https://user:secret@shop.example",
        "https://shop.example?tenant=1",
        "https://shop.example#top",
        "https://shop.example:port",
        "http://[::1",
    ],
)
def test_an_issuer_elsewhere_is_refused(issuer: str) -> None:
    with pytest.raises(ValueError, match="expected the address of an issuer, such as https://"):
        settings(issuer=issuer)


@pytest.mark.parametrize("audience", [frozenset(), frozenset({""})])
def test_an_audience_is_needed(audience: frozenset[str]) -> None:
    with pytest.raises(ValueError, match="expected the audience"):
        settings(audience=audience)


@pytest.mark.parametrize(
    "said",
    [
        {"aud": "the-shop"},
        {"aud": ["account", "the-app"]},
        {"aud": None, "client_id": "the-app", "token_use": "access"},
    ],
    ids=repr,
)
def test_a_token_is_for_one_of_the_audiences(said: dict[str, Any]) -> None:
    assert claims_of(settings(), **said).subject == "ada"


@pytest.mark.parametrize(
    "said",
    [
        {"aud": None},
        {"aud": "account"},
        {"aud": []},
        {"aud": [["the-shop"]]},
        {"aud": {"the-shop": 1}},
        {"aud": 5},
        {"aud": "the-shop the-app"},
        {"aud": None, "client_id": "the-app"},
        {"aud": None, "client_id": "the-app", "token_use": "id"},
        {"aud": None, "client_id": "other", "token_use": "access"},
        {"aud": "other", "client_id": "the-app", "token_use": "access"},
        {"aud": None, "azp": "the-app"},
    ],
    ids=repr,
)
def test_a_token_for_others_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused, match="not for this shop: ask the issuer for one for the-app, the-shop"):
        claims_of(settings(), **said)


@pytest.mark.parametrize("issuer", [None, 5, f"{ISSUER}/", "https://sign-in.shop.example/realms/other", [ISSUER]])
def test_a_token_of_another_issuer_is_refused(issuer: object) -> None:
    with pytest.raises(TokenRefused, match="not from the issuer of this shop"):
        claims_of(settings(), iss=issuer)


class TestSubjects:
    def test_another_claim_can_name_the_buyer(self) -> None:
        assert claims_of(settings(subject_claim="email"), email="ada@shop.example").subject == "ada@shop.example"

    def test_a_subject_has_as_many_characters_as_a_user_ref(self) -> None:
        assert MAX_SUBJECT == MAX_TEXT

    @pytest.mark.parametrize("subject", ["a", "x" * 200, "auth0|5f7c8ec7c33c6c004bbafe82", "José", "李小龍", "a b"])
    def test_visible_text_is_a_subject(self, subject: str) -> None:
        assert claims_of(settings(), sub=subject).subject == subject

    @pytest.mark.parametrize(
        "subject",
        [
            None,
            5,
            True,
            ["ada"],
            "",
            "x" * 201,
            " ada",
            "ada ",
            "a\nb",
            "a\x00",
            "a\u200b",
            "Jose\u0301",
            "ａｄａ",
            "\u3164",
        ],
        ids=ascii,
    )
    def test_other_values_are_refused(self, subject: object) -> None:
        with pytest.raises(TokenRefused, match="its claim sub must be a text of 1 to 200 visible characters"):
            claims_of(settings(), sub=subject)

    def test_a_subject_is_a_user_ref_as_it_is(self) -> None:
        texts = (f"a{chr(number)}b" for number in range(0x110000))
        differing = [ascii(text) for text in texts if is_subject(text) and not _is_kept(text)]
        assert differing == []


def _is_kept(subject: str) -> bool:
    try:
        return checked_text("userRef", subject) == subject
    except InvalidInput:
        return False


class TestRoles:
    @pytest.mark.parametrize(
        ("claim", "said"),
        [
            ("roles", {"roles": ["shop-admins", "visitors"]}),
            ("cognito:groups", {"cognito:groups": ["shop-admins"]}),
            ("realm_access.roles", {"realm_access": {"roles": ["offline_access", "shop-admins"]}}),
            ("resource_access.shop.roles", {"resource_access": {"shop": {"roles": ["shop-admins"]}}}),
            ("https://shop.example/roles", {"https://shop.example/roles": ["shop-admins"]}),
            ("scope", {"scope": "openid shop-admins profile"}),
            ("role", {"role": "shop-admins"}),
        ],
        ids=repr,
    )
    def test_a_claim_gives_roles(self, claim: str, said: dict[str, Any]) -> None:
        assert claims_of(settings(roles_claim=claim, role_names=ROLES), **said).roles == {"operator"}

    def test_a_bearer_can_have_several(self) -> None:
        said = {"roles": ["help-desk", "shop-admins", "help-desk"]}
        assert claims_of(settings(roles_claim="roles", role_names=ROLES), **said).roles == {"operator", "support"}

    @pytest.mark.parametrize(
        "said",
        [
            {},
            {"roles": []},
            {"roles": 5},
            {"roles": {"shop-admins": True}},
            {"roles": [["shop-admins"], 5, None]},
            {"roles": ["operator", "Shop-Admins", "shop-admins "]},
            {"roles": "shop-admins,help-desk"},
            {"scope": "shop-admins"},
        ],
        ids=repr,
    )
    def test_nothing_else_gives_one(self, said: dict[str, Any]) -> None:
        assert claims_of(settings(roles_claim="roles", role_names=ROLES), **said).roles == frozenset()

    def test_no_claim_gives_a_role_unless_it_is_configured(self) -> None:
        assert claims_of(settings(), roles=["operator", "shop-admins"]).roles == frozenset()
        assert claims_of(settings(role_names=ROLES), roles=["shop-admins"]).roles == frozenset()

    def test_a_path_ends_where_there_is_no_object(self) -> None:
        configured = settings(roles_claim="realm_access.roles", role_names=ROLES)
        for said in ({"realm_access": "shop-admins"}, {"realm_access": None}, {"realm_access": ["roles"]}):
            assert claims_of(configured, **said).roles == frozenset()

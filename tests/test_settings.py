"""Settings: a variable that cannot be used is refused by its name, and docs/configuration.md has every variable."""

import json
import re
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from api import environment_variables as variables
from api.command_variables import COMMAND_VARIABLES, table
from api.environment_variables import VARIABLES, Variable
from api.identity.caller import Role
from api.identity.issuer_settings import IssuerSettings
from api.settings import EMBEDDED_REGIONS, InvalidSettings, read_settings
from tests.options import Recorded, command_options

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
TOKEN = "0123456789abcdef"
ENDPOINTS = "us-east-1=postgresql://app:hunter2@a.example/shop,us-east-2=postgresql://app:hunter2@b.example/shop"


def regions(environment: dict[str, str]) -> list[str]:
    settings = read_settings(environment)
    endpoints = settings.endpoints or settings.with_embedded("postgresql://localhost/postgres", TOKEN).endpoints
    return [endpoint.region for endpoint in endpoints]


def test_an_empty_environment_gives_the_settings_of_a_laptop() -> None:
    settings = read_settings({})
    assert settings.embedded
    assert settings.graphiql
    assert settings.race
    assert settings.data_directory == Path(".dropzero")
    assert settings.allowed_origins.fullmatch("http://localhost:5173")
    assert not settings.allowed_origins.fullmatch("https://shop.example")
    assert regions({}) == list(EMBEDDED_REGIONS)


def test_an_endpoint_closes_what_is_open_on_a_laptop() -> None:
    settings = read_settings({"DROPZERO_ENDPOINTS": ENDPOINTS})
    assert not settings.embedded
    assert not settings.graphiql
    assert not settings.race
    assert not settings.allowed_origins.fullmatch("http://localhost:5173")
    assert not settings.allowed_origins.fullmatch("")


def test_home_is_the_first_endpoint_or_the_configured_region() -> None:
    assert regions({"DROPZERO_ENDPOINTS": ENDPOINTS}) == ["us-east-1", "us-east-2"]
    assert regions({"DROPZERO_ENDPOINTS": ENDPOINTS, "DROPZERO_REGION": "us-east-2"}) == ["us-east-2", "us-east-1"]
    assert regions({"DROPZERO_REGION": EMBEDDED_REGIONS[1]}) == list(reversed(EMBEDDED_REGIONS))


def test_a_tilde_is_expanded_to_the_home_folder() -> None:
    assert read_settings({"DROPZERO_DATA": "~/drops"}).data_directory == Path.home() / "drops"


def test_one_transaction_per_purchase_takes_all_connections() -> None:
    settings = read_settings({"DROPZERO_GROUP_COMMIT": "off", "DROPZERO_CONNECTIONS": "50"})
    assert (settings.group.size, settings.group.in_flight) == (1, 50)


def test_secrets_stay_out_of_the_repr() -> None:
    settings = read_settings({"DROPZERO_ENDPOINTS": ENDPOINTS, "DROPZERO_ADMIN_TOKEN": TOKEN})
    assert settings.admin_token == TOKEN
    assert TOKEN not in repr(settings)
    assert "hunter2" not in repr(settings)


def test_the_race_is_for_laptops_alone() -> None:
    endpoints = {"DROPZERO_ENDPOINTS": ENDPOINTS}
    assert not read_settings({**endpoints, "DROPZERO_RACE": "off"}).race
    with pytest.raises(InvalidSettings, match=r"^DROPZERO_RACE: unset it with endpoints; .* run dropzero race"):
        read_settings({**endpoints, "DROPZERO_RACE": "on"})


def test_the_demo_is_for_laptops_alone() -> None:
    endpoints = {"DROPZERO_ENDPOINTS": ENDPOINTS}
    assert read_settings({}).demo
    assert not read_settings({"DROPZERO_DEMO": "off"}).demo
    assert not read_settings(endpoints).demo
    with pytest.raises(InvalidSettings, match=r"^DROPZERO_DEMO: unset it with endpoints; the demo confirms orders"):
        read_settings({**endpoints, "DROPZERO_DEMO": "on"})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DROPZERO_ENDPOINTS", "", "it is set but empty; name a database, or unset it"),
        ("DROPZERO_ENDPOINTS", "  ", "it is set but empty; name a database, or unset it"),
        ("DROPZERO_ENDPOINTS", "postgresql://app:hunter2@a.example/shop", "expected REGION=URL entries"),
        ("DROPZERO_REGION", "ap-northeast-3", "expected one of ap-northeast-1, ap-northeast-2, not 'ap-northeast-3'"),
        ("DROPZERO_ADMIN_TOKEN", "hunter2", "expected at least 16 printable ASCII characters without spaces"),
        ("DROPZERO_ADMIN_TOKEN", "hunter2 hunter2 hunter2", "expected at least 16 printable ASCII characters"),
        ("DROPZERO_ADMIN_TOKEN", "hunter2" + "é" * 16, "expected at least 16 printable ASCII characters"),
        ("DROPZERO_ADMIN_TOKENS", "hunter2hunter2hunter2", "expected NAME=TOKEN or NAME=sha256:HEX"),
        ("DROPZERO_ADMIN_TOKENS", "ci=hunter2", "expected at least 16 printable ASCII characters without spaces, in"),
        ("DROPZERO_GUEST_KEY", "hunter2", "expected keys of at least 32 printable ASCII characters without spaces"),
        ("DROPZERO_SUBJECT_CLAIM", "the subject", "expected the name of a claim, or a path such as realm_access"),
        ("DROPZERO_ROLES_CLAIM", "roles\x00", "expected the name of a claim, or a path such as realm_access"),
        ("DROPZERO_WEBHOOK_URL", "https://ada:hunter2@shop.example", "expected the address of a receiver, such as"),
        ("DROPZERO_WEBHOOK_SECRET", "whsec_hunter2", "expected secrets of Standard Webhooks: whsec_ and 24 to 64"),
        ("DROPZERO_CONNECTIONS", "0", "expected a whole number from 1 to 1000, not '0'"),
        ("DROPZERO_CONNECTIONS", "1001", "expected a whole number from 1 to 1000"),
        ("DROPZERO_CONNECTIONS", "ten", "expected a whole number from 1 to 1000, not 'ten'"),
        ("DROPZERO_CONNECTIONS", "9" * 5000, "expected a whole number from 1 to 1000"),
        ("DROPZERO_ATTEMPTS", "-1", "expected a whole number from 1 to 1000"),
        ("DROPZERO_DEADLINE_MS", "15s", "expected a whole number from 100 to 120000, not '15s'"),
        ("DROPZERO_COMMIT_DELAY_MS", "101", "expected a whole number from 0 to 100"),
        ("DROPZERO_POLL_INTERVAL_MS", "1.5", "expected a whole number from 10 to 60000"),
        ("DROPZERO_GRAPHIQL", "maybe", "expected on or off, not 'maybe'"),
        ("DROPZERO_RACE", "1st", "expected on or off, not '1st'"),
        ("DROPZERO_GROUP_COMMIT", "2", "expected on or off, not '2'"),
        ("DROPZERO_ALLOWED_ORIGINS", "*", "expected origins such as https://shop.example"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_with_what_was_expected(name: str, value: str, expected: str) -> None:
    with pytest.raises(InvalidSettings) as refusal:
        read_settings({name: value})
    assert str(refusal.value).startswith(f"{name}: {expected}")
    assert "hunter2" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_a_home_region_without_an_endpoint_is_refused_by_its_own_name() -> None:
    with pytest.raises(InvalidSettings, match=r"^DROPZERO_REGION: expected one of us-east-1, us-east-2, not 'mars'$"):
        read_settings({"DROPZERO_ENDPOINTS": ENDPOINTS, "DROPZERO_REGION": "mars"})


ISSUER = {"DROPZERO_ISSUER": "https://sign-in.shop.example", "DROPZERO_AUDIENCE": "shop, app"}


def test_an_issuer_is_read_with_its_audiences_and_roles() -> None:
    assert read_settings({}).issuer is None
    issuer = read_settings(ISSUER).issuer
    assert issuer == IssuerSettings("https://sign-in.shop.example", frozenset({"shop", "app"}))
    roles = {
        "DROPZERO_SUBJECT_CLAIM": "username",
        "DROPZERO_ROLES_CLAIM": "realm_access.roles",
        "DROPZERO_OPERATOR_ROLE": "shop-admin",
        "DROPZERO_PAYMENTS_ROLE": "till",
    }
    issuer = read_settings({**ISSUER, **roles}).issuer
    assert issuer is not None
    assert (issuer.subject_claim, issuer.roles_claim) == ("username", "realm_access.roles")
    assert issuer.role_names == {"shop-admin": Role.OPERATOR, "till": Role.PAYMENTS}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DROPZERO_ISSUER": "https://sign-in.shop.example"}, "DROPZERO_AUDIENCE: set it too; without it, tokens for"),
        ({**ISSUER, "DROPZERO_ISSUER": "http://sign-in.shop.example"}, "DROPZERO_ISSUER: expected the address of an"),
        ({"DROPZERO_AUDIENCE": "shop"}, "DROPZERO_AUDIENCE: set DROPZERO_ISSUER too"),
        ({"DROPZERO_ROLES_CLAIM": "roles"}, "DROPZERO_ROLES_CLAIM: set DROPZERO_ISSUER too"),
        ({"DROPZERO_SUPPORT_ROLE": "help"}, "DROPZERO_SUPPORT_ROLE: set DROPZERO_ISSUER too"),
        (
            {**ISSUER, "DROPZERO_SUPPORT_ROLE": "help"},
            "DROPZERO_ROLES_CLAIM: set it too; DROPZERO_SUPPORT_ROLE is a value of that claim",
        ),
        (
            {
                **ISSUER,
                "DROPZERO_ROLES_CLAIM": "roles",
                "DROPZERO_OPERATOR_ROLE": "staff",
                "DROPZERO_SUPPORT_ROLE": "staff",
            },
            "DROPZERO_OPERATOR_ROLE and DROPZERO_SUPPORT_ROLE: expected another value for each",
        ),
    ],
)
def test_variables_of_an_issuer_that_are_of_no_use_alone_are_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSettings) as refusal:
        read_settings(environment)
    assert str(refusal.value).startswith(message)


def test_operators_tokens_and_guests_keys_are_read_and_stay_out_of_the_repr() -> None:
    key = "a-key-of-this-deployment-0123456"
    settings = read_settings({"DROPZERO_ADMIN_TOKENS": f"ci={TOKEN}", "DROPZERO_GUEST_KEY": f"{key},{key[::-1]}"})
    assert settings.operator_digests == {"ci": sha256(TOKEN.encode()).digest()}
    assert settings.guest_keys == (key, key[::-1])
    assert not any(secret in repr(settings) for secret in (TOKEN, key, sha256(TOKEN.encode()).hexdigest()))
    assert repr(sha256(TOKEN.encode()).digest()) not in repr(settings)


def test_only_a_laptop_lets_anonymous_callers_name_any_buyer() -> None:
    assert read_settings({}).open_to_anyone
    assert not read_settings({"DROPZERO_ENDPOINTS": ENDPOINTS}).open_to_anyone


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("DROPZERO_ENDPOINT", "DROPZERO_ENDPOINTS"), ("DROPZERO_ADMIN_TOKE", "DROPZERO_ADMIN_TOKEN")],
)
def test_a_misspelt_variable_does_not_open_a_drop_on_an_empty_database(misspelt: str, meant: str) -> None:
    with pytest.raises(InvalidSettings, match=rf"^{misspelt} is not a variable of dropzero; is {meant} meant\?$"):
        read_settings({misspelt: ENDPOINTS})


def test_variables_of_command_options_are_not_taken_for_misspelt_ones() -> None:
    others = ["DROPZERO_HOST", "DROPZERO_PORT", "DROPZERO_URL", "DROPZERO_LOAD_REGION", "DROPZERO_ENDPOINTS_OLD"]
    assert read_settings(dict.fromkeys(others, "anything")).embedded


FIRST, SECOND = "query A { __typename }", "mutation B { __typename }"


def documents_file(folder: Path, content: bytes | dict[str, Any] | list[Any]) -> str:
    file = folder / "documents.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(file)


@pytest.mark.parametrize(
    "content",
    [
        {"5f1c": FIRST, "9a07": SECOND},  # GraphQL Code Generator, and Relay
        {
            "format": "apollo-persisted-query-manifest",
            "version": 1,
            "operations": [
                {"id": "5f1c", "body": FIRST, "name": "A", "type": "query"},
                {"id": "9a07", "body": SECOND, "name": "B", "type": "mutation"},
            ],
        },
    ],
)
def test_documents_are_read_from_what_a_frontends_build_has_written(tmp_path: Path, content: dict[str, Any]) -> None:
    file = documents_file(tmp_path, content)
    by_id = {"5f1c": FIRST, "9a07": SECOND}
    assert read_settings({"DROPZERO_DOCUMENTS": file}).trusted_documents == by_id
    assert read_settings({"DROPZERO_DOCUMENTS": f" {file} "}).trusted_documents == by_id


def test_an_empty_file_of_documents_differs_from_no_file(tmp_path: Path) -> None:
    assert read_settings({}).trusted_documents is None
    assert read_settings({"DROPZERO_DOCUMENTS": documents_file(tmp_path, {})}).trusted_documents == {}
    assert read_settings({"DROPZERO_DOCUMENTS": documents_file(tmp_path, {"operations": []})}).trusted_documents == {}


def test_all_files_of_a_folder_are_read_and_may_not_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "shop-41.json").write_text(json.dumps({"5f1c": FIRST}))
    (tmp_path / "shop-42.json").write_text(json.dumps({"5f1c": FIRST, "9a07": SECOND}))
    (tmp_path / "notes.txt").write_text("no documents")
    there = {"DROPZERO_DOCUMENTS": str(tmp_path)}
    assert read_settings(there).trusted_documents == {"5f1c": FIRST, "9a07": SECOND}

    (tmp_path / "shop-43.json").write_text(json.dumps({"9a07": FIRST}))
    with pytest.raises(InvalidSettings, match="another document under the id '9a07'"):
        read_settings(there)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"query A { __typename }",
        b'{"5f1c": "query A { \xff }"}',
        b"[" * 5_000,
        [FIRST],
        [{"id": "5f1c", "body": FIRST}],
        {"5f1c": FIRST, "9a07": 5},
        {"5f1c": {"body": FIRST}},
        {"operations": [{"id": "5f1c", "body": FIRST}, {"id": "9a07"}]},
        {"operations": [{"id": "5f1c", "body": None}]},
        {"operations": [{"id": ["5f1c"], "body": FIRST}]},
        {"operations": [FIRST]},
        {"operations": [[FIRST]]},
        b'"query A { __typename }"',
        b"5",
        b"null",
    ],
)
def test_a_file_without_documents_is_refused_with_what_was_expected(
    tmp_path: Path, content: bytes | dict[str, Any] | list[Any]
) -> None:
    file = documents_file(tmp_path, content)
    with pytest.raises(InvalidSettings) as refused:
        read_settings({"DROPZERO_DOCUMENTS": file})
    message = str(refused.value)
    assert message.startswith("DROPZERO_DOCUMENTS: ")
    assert "expected a file of documents in JSON: " in message or (
        message.endswith("is no object of ids and documents, nor an Apollo persisted query manifest")
        and file[:100] in message
    )
    assert "\n" not in message


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_of_documents_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    file = str(tmp_path / name)
    with pytest.raises(InvalidSettings, match="DROPZERO_DOCUMENTS: expected a file of documents in JSON: ") as refused:
        read_settings({"DROPZERO_DOCUMENTS": file})
    assert str(tmp_path) in str(refused.value)


def test_trusted_proxies_are_addresses_and_networks_of_both_kinds() -> None:
    networks = read_settings({"DROPZERO_TRUSTED_PROXIES": " 10.0.0.0/8, 192.0.2.7 ,fd00::/8,,::1"}).trusted_proxies
    assert networks == tuple(map(ip_network, ("10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "::1/128")))
    assert read_settings({}).trusted_proxies == ()


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "10.0.0.1/8", "proxy.example", "10.0.0.0/8;10.1.0.0/16", "*"])
def test_a_proxy_that_is_no_address_is_refused_by_its_text(wrong: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        read_settings({"DROPZERO_TRUSTED_PROXIES": f"127.0.0.1, {wrong}"})
    assert str(refused.value) == (
        "DROPZERO_TRUSTED_PROXIES: expected addresses or networks such as 10.0.0.0/8, separated by commas, "
        f"not {wrong!r}"
    )


def test_the_table_lists_every_variable_that_the_settings_read() -> None:
    environment = Recorded()
    read_settings(environment)
    read = {name for name in environment.asked if name.startswith("DROPZERO_")}
    assert [variable.name for variable in VARIABLES if variable.name not in read] == []
    assert read - {variable.name for variable in VARIABLES} == set()
    defined = [value for value in vars(variables).values() if isinstance(value, Variable)]
    assert defined == list(VARIABLES)


def test_every_variable_of_a_command_is_that_of_an_option_with_the_same_default() -> None:
    options = command_options()
    for variable in COMMAND_VARIABLES:
        found = [option for option in options if option.envvar == variable.name]
        assert found, variable.name
        for option in found:
            assert option.default in (variable.default, [variable.default]), variable.name
    short = {name for name in (str(option.envvar) for option in options) if name.count("_") == 1}
    assert short == {variable.name for variable in COMMAND_VARIABLES}


def test_the_page_of_the_configuration_has_the_table_of_the_code() -> None:
    expected = table((*VARIABLES, *COMMAND_VARIABLES))
    [found] = re.findall(r"^\| variable \|.*?(?=\n\n)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert found == expected, f"put this table into {PAGE.name}, in place of the one that it has:\n\n{expected}\n"

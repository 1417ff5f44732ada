"""What the doctor finds in the environment."""

import pytest

from api.doctor.finding import Level
from api.doctor.settings import check_settings
from tests.doctor.findings import not_ok

WISE = {
    "DROPZERO_ENDPOINTS": "us-east-1=dsql://app@abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws",
    "DROPZERO_ADMIN_TOKEN": "0123456789abcdef0123456789abcdef",
    "DROPZERO_GUEST_KEY": "0123456789abcdef0123456789abcdef",
    "DROPZERO_HOSTS": "shop.example",
    "DROPZERO_TRUSTED_PROXIES": "10.0.0.0/8",
}


@pytest.mark.parametrize("environment", [{}, WISE, {"DROPZERO_LOAD_UNITS": "5", "HOME": "/"}])
def test_nothing_is_wrong_with_wise_settings(environment: dict[str, str]) -> None:
    settings, findings = check_settings(environment, frozenset({"load"}))
    assert settings is not None
    assert not_ok(findings) == []


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"DROPZERO_COLOUR": "red"}, "settings", "DROPZERO_COLOUR is not a variable"),
        ({"DROPZERO_ADMIN_TOKEN": "only-twenty-letters."}, "operator", "can be guessed"),
        ({"DROPZERO_ADMIN_TOKEN": "abab" * 10}, "operator", "can be guessed"),
        ({"DROPZERO_ADMIN_TOKEN": ""}, "operator", "nobody can create products"),
        ({"DROPZERO_GUEST_KEY": ""}, "buyers", "nobody can buy"),
        (
            {"DROPZERO_ISSUER": "http://localhost:9000", "DROPZERO_AUDIENCE": "shop"},
            "issuer",
            "without TLS",
        ),
        ({"DROPZERO_HOSTS": ""}, "hosts", "no host names are configured"),
        ({"DROPZERO_TRUSTED_PROXIES": "0.0.0.0/0"}, "proxies", "has every address"),
        ({"DROPZERO_TRUSTED_PROXIES": ""}, "proxies", "no proxy is trusted"),
        ({"DROPZERO_GRAPHIQL": "on"}, "GraphiQL", "it is open"),
        (
            {
                "DROPZERO_WEBHOOK_URL": "http://10.0.0.1/hook",
                "DROPZERO_WEBHOOK_SECRET": "whsec_" + "A" * 44,
                "DROPZERO_WEBHOOK_PRIVATE": "on",
            },
            "webhook",
            "without TLS",
        ),
    ],
)
def test_an_unwise_combination_is_worth_a_warning(changes: dict[str, str], check: str, words: str) -> None:
    settings, findings = check_settings({**WISE, **changes})
    assert settings is not None
    [finding] = not_ok(findings)
    assert (finding.check, finding.level) == (check, Level.WARNING)
    assert words in finding.found
    secrets = ("DROPZERO_ADMIN_TOKEN", "DROPZERO_GUEST_KEY", "DROPZERO_WEBHOOK_SECRET")
    values = [value for name, value in {**WISE, **changes}.items() if name in secrets and value]
    assert not [value for value in values if value in str(findings)]


def test_settings_that_cannot_be_used_are_found_with_what_was_expected() -> None:
    settings, [finding] = check_settings({**WISE, "DROPZERO_DEMO": "on"})
    assert settings is None
    assert finding.level is Level.FAILED
    assert finding.found.startswith("DROPZERO_DEMO: unset it with endpoints")
    assert finding.mend

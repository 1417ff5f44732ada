"""The variables of webhooks and of events: what they give together, and which are of no use alone."""

import pytest

from api.settings import InvalidSettings, read_settings
from api.webhooks.webhook_settings import WebhookSettings

ENDPOINTS = "us-east-1=postgresql://app:password@a.example/shop"
SECRET = "whsec_" + "QUJD" * 8
WEBHOOK = {"DROPZERO_WEBHOOK_URL": "https://shop.example/hooks?key=hunter2", "DROPZERO_WEBHOOK_SECRET": SECRET}


def test_a_webhook_is_read_with_its_secrets_and_keeps_the_events() -> None:
    settings = read_settings({**WEBHOOK, "DROPZERO_WEBHOOK_SECRET": f"{SECRET}, {'REVG' * 8}"})
    assert settings.webhook == WebhookSettings(WEBHOOK["DROPZERO_WEBHOOK_URL"], (SECRET, "REVG" * 8), private=True)
    assert settings.events
    assert not any(secret in repr(settings) for secret in ("QUJD", "REVG", "hunter2"))


@pytest.mark.parametrize(("value", "kept"), [("", False), ("off", False), ("on", True)])
def test_without_a_webhook_no_events_are_kept_unless_they_are_wanted(value: str, kept: bool) -> None:
    settings = read_settings({"DROPZERO_EVENTS": value})
    assert settings.webhook is None
    assert settings.events == kept


@pytest.mark.parametrize("url", ["http://shop.example/hooks", "https://10.0.0.7/hooks", "https://[::1]:8443/hooks"])
def test_private_receivers_are_for_laptops_and_for_those_that_allow_them(url: str) -> None:
    webhook = {**WEBHOOK, "DROPZERO_WEBHOOK_URL": url}
    with pytest.raises(InvalidSettings, match=r"^DROPZERO_WEBHOOK_URL: expected .*DROPZERO_WEBHOOK_PRIVATE=on allows"):
        read_settings({**webhook, "DROPZERO_ENDPOINTS": ENDPOINTS})
    with pytest.raises(InvalidSettings, match=r"^DROPZERO_WEBHOOK_URL: "):
        read_settings({**webhook, "DROPZERO_WEBHOOK_PRIVATE": "off"})
    for allowed in ({}, {"DROPZERO_ENDPOINTS": ENDPOINTS, "DROPZERO_WEBHOOK_PRIVATE": "on"}):
        settings = read_settings({**webhook, **allowed})
        assert settings.webhook is not None
        assert settings.webhook.private


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DROPZERO_WEBHOOK_URL": "https://shop.example"}, "DROPZERO_WEBHOOK_SECRET: set it too; without it, the rec"),
        ({"DROPZERO_WEBHOOK_SECRET": SECRET}, "DROPZERO_WEBHOOK_URL: set it too; without it, nothing is sent"),
        ({**WEBHOOK, "DROPZERO_EVENTS": "off"}, "DROPZERO_EVENTS: unset it; DROPZERO_WEBHOOK_URL needs the events"),
    ],
)
def test_variables_of_a_webhook_that_are_of_no_use_alone_are_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSettings) as refusal:
        read_settings(environment)
    assert str(refusal.value).startswith(message)

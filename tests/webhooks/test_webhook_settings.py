"""What can be configured of a receiver, and what its settings and their errors keep secret."""

import pytest
from standardwebhooks import Webhook as Verifier

from api.webhooks.webhook_settings import WebhookSettings, parse_webhook_secrets, parse_webhook_url
from tests.webhooks.receiver import OTHER_SECRET, SECRET


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example",
        "https://shop.example:8443/webhooks/drops?key=1%2F2",
        "http://localhost:3000/hooks",
        "https://[2600:1f18::7]/hooks",
        "https://лавка.example/hooks",
    ],
)
def test_the_url_of_a_receiver_is_kept_as_it_is(url: str) -> None:
    assert parse_webhook_url(url) == url


@pytest.mark.parametrize(
    "text",
    [
        "shop.example/hunter2",
        "ftp://shop.example/hunter2",
        "https:///hunter2",
        "https://ada@shop.example/hunter2",
        "https://ada:hunter2@shop.example",
        "https://:hunter2@shop.example",
        "https://shop.example/#hunter2",
        "https://shop.example/hunter2#",
        "https://shop.example/a b/hunter2",
        "https://shop.example/\r\nhunter2",
        "https://shop.example:99999/hunter2",
        "https://[hunter2",
        "hunter2",
    ],
)
def test_what_is_no_url_of_a_receiver_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected the address of a receiver, such as") as refused:
        parse_webhook_url(text)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", [SECRET, SECRET.removeprefix("whsec_"), "whsec_" + "QUJD" * 8 + "QQ"])
def test_a_secret_is_what_the_library_reads(text: str) -> None:
    assert parse_webhook_secrets(text) == (text,)
    assert Verifier(text)


def test_secrets_are_separated_by_commas() -> None:
    assert parse_webhook_secrets(f" {SECRET},{OTHER_SECRET} ,") == (SECRET, OTHER_SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        "whsec_hunter2hunter2hunter2",
        "whsec_" + "QUJD" * 7 + "hunter2!" * 2,
        "whsec_" + "QUJD" * 7 + "-_hunter2" * 4,
        "whsk_" + "QUJD" * 10 + "hunter2=",
        "whsec_" + "QUJD" * 7 + "é" + "hunter2" * 4,
        "whsec_" + "hunter2=" * 12,
        "whsec_" + "QUJD" * 22 + "hunter2=",  # 65 bytes and more
        ",",
        f"{SECRET},hunter2",
    ],
)
def test_what_is_no_secret_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected secrets of Standard Webhooks: whsec_ and 24 to 64 ") as refused:
        parse_webhook_secrets(text)
    assert "hunter2" not in str(refused.value)


def test_a_public_receiver_needs_tls_and_a_public_address() -> None:
    assert WebhookSettings("https://shop.example/hooks", (SECRET,))
    assert WebhookSettings("https://93.184.216.34/hooks", (SECRET,))
    assert WebhookSettings("https://7.example/hooks", (SECRET,))
    assert WebhookSettings("https://localhost/hooks", (SECRET,))  # a name, which is checked when it is resolved


@pytest.mark.parametrize(
    "origin",
    [
        "http://shop.example",
        "http://93.184.216.34",
        "https://127.0.0.1",
        "https://127.0.0.1.",
        "https://[fd00::7]:8443",
        "https://[::ffff:10.0.0.7]",
        "https://[fe80::1%25eth0]",
        "https://127.1",
        "https://2130706433",
        "https://0177.0.0.1",
        "https://0x7f.1",
        "https://0x7f000001",
    ],
)
def test_any_other_receiver_has_to_be_allowed(origin: str) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        WebhookSettings(f"{origin}/hooks", (SECRET,))
    assert WebhookSettings(f"{origin}/hooks", (SECRET,), private=True).private


def test_settings_show_neither_a_secret_nor_more_of_the_url_than_its_origin() -> None:
    settings = WebhookSettings("https://shop.example:8443/hunter2?key=hunter2", (SECRET,))
    assert settings.receiver == "https://shop.example:8443"
    assert "hunter2" not in repr(settings)
    assert SECRET not in repr(settings)

"""What a shop configures of the receiver of its webhooks."""

import binascii
from base64 import b64decode
from dataclasses import dataclass, field

import yarl

from api.webhooks.addresses import is_public

PREFIX = "whsec_"
"""What a secret of Standard Webhooks begins with."""

LEAST_SECRET, MOST_SECRET = 24, 64
"""Bytes of a secret, by the specification of Standard Webhooks. HMAC-SHA256 shortens a longer one."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """`url`: where events are sent. `secrets`: each signs, so that a receiver can change from one to the next.
    `private`: whether the receiver may be at a private address, and without TLS."""

    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    private: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError, without the URL, for a receiver that only `private` allows."""
        url = yarl.URL(self.url)
        if not self.private and url.scheme != "https":
            raise ValueError("expected https://; http:// sends buyers' orders in clear text")
        if not self.private and _is_address(url.host or "") and not is_public(url.host or ""):
            raise ValueError("expected a public address, not one of a private network")

    @property
    def receiver(self) -> str:
        """The origin of the URL, for log lines. The path and the query may be secret: they are not in it."""
        return str(yarl.URL(self.url).origin())


def _is_address(host: str) -> bool:
    """Whether the operating system reads a host as an address, in whatever spelling. No name ends in a label that
    begins with a digit."""
    return ":" in host or host.rstrip(".").rpartition(".")[2][:1].isdigit()


def parse_webhook_url(text: str) -> str:
    """The URL of a receiver. Raises ValueError, without the URL: it may have a secret in it."""
    try:
        url = yarl.URL(text)
        usable = url.scheme in ("http", "https") and url.host and url.user is None and url.password is None
        usable = usable and "#" not in text
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise ValueError(
            "expected the address of a receiver, such as https://shop.example/webhooks, without a user and a fragment"
        )
    return text


def parse_webhook_secrets(text: str) -> tuple[str, ...]:
    """Secrets, separated by commas. Raises ValueError, without the secrets."""
    secrets = tuple(filter(None, map(str.strip, text.split(","))))
    if not secrets or not all(map(_is_secret, secrets)):
        raise ValueError(
            f"expected secrets of Standard Webhooks: {PREFIX} and {LEAST_SECRET} to {MOST_SECRET} random bytes in "
            f"base64, such as of: echo {PREFIX}$(openssl rand -base64 32)"
        )
    return secrets


def _is_secret(text: str) -> bool:
    """Whether every reader decodes it to the same bytes. The library skips what is not base64, without an error."""
    encoded = text.removeprefix(PREFIX)
    try:
        secret = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return LEAST_SECRET <= len(secret) <= MOST_SECRET

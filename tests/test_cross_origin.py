"""The origins in DROPZERO_ALLOWED_ORIGINS: which text is read, and which Origin headers it matches."""

import re

import pytest

from api.cross_origin import parse_origins

PREVIEWS = "https://*-acme.vercel.app"


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("https://shop.example", ["https://shop.example"]),
        (
            " https://shop.example/ , http://a.example:8080,",
            ["https://shop.example", "http://a.example:8080"],
        ),
        ("HTTPS://Shop.Example", ["https://shop.example"]),
        ("http://127.0.0.1:3000, http://[::1]:3000", ["http://127.0.0.1:3000", "http://[::1]:3000"]),
        ("https://xn--caf-dma.example", ["https://xn--caf-dma.example"]),
        ("https://*.vercel.app", ["https://shop-git-main-acme.vercel.app", "https://a.vercel.app"]),
        (PREVIEWS, ["https://shop-git-main-acme.vercel.app", "https://shop-7hd92k-acme.vercel.app"]),
        ("https://shop-git-*-acme.vercel.app", ["https://shop-git-new-cart-acme.vercel.app"]),
        ("https://*.preview.shop.example:8443", ["https://pr-7.preview.shop.example:8443"]),
        ("http://*.localhost:3000", ["http://shop.localhost:3000"]),
        (
            "capacitor://localhost, ionic://localhost, tauri://localhost, http://tauri.localhost",
            ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "http://tauri.localhost"],
        ),
    ],
)
def test_the_named_origins_are_allowed(text: str, origins: list[str]) -> None:
    allowed = parse_origins(text)
    for origin in origins:
        assert allowed.fullmatch(origin), origin


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        "https://*-acme.vercel.app",
        "https://-acme.vercel.app",  # nothing in the place of *
        "https://acme.vercel.app",
        "https://shop-acme-vercel.app",
        "https://evil-vercel.app",
        "https://shop-evilacme.vercel.app",
        "https://shop-acme.vercel.app.evil.example",
        "https://evil.example/shop-acme.vercel.app",
        "https://evil.example#-acme.vercel.app",
        "https://evil.example?-acme.vercel.app",
        "https://evil.example%2f-acme.vercel.app",
        "https://evil.example\\-acme.vercel.app",
        "https://evil@shop-acme.vercel.app",
        "https://evil:secret@shop-acme.vercel.app",
        "https://evil.shop-acme.vercel.app",  # * stands for no dot
        "https://evil..shop-acme.vercel.app",
        "https://evil.example.-acme.vercel.app",
        "http://shop-acme.vercel.app",
        "https://shop-acme.vercel.app:443",
        "https://shop-acme.vercel.app:8443",
        "https://shop-acme.vercel.app:",
        "https://shop-acme.vercel.app.",
        "https://shop-acme.vercel.app/",
        "https://shop-acme.vercel.app\n",
        "https://shop-acme.vercel.app ",
        " https://shop-acme.vercel.app",
        "https://shop-acme.vercel.app, https://evil.example",
        "https://evil.example https://shop-acme.vercel.app",
        "https://SHOP-acme.vercel.app",
        "https://shop-ACME.vercel.app",
        "HTTPS://shop-acme.vercel.app",
        "https://shop_evil-acme.vercel.app",
        "https://évil-acme.vercel.app",
        "https://shop-acme.vercel。app",  # an ideographic full stop
        "https://shop-acme.vercel\u2024app",  # a one dot leader
        "https://shop-acme.ver\u0441el.app",  # a Cyrillic letter
        "https://shop\u212a-acme.vercel.app",  # the Kelvin sign, a k in lower case
        "https://shop-\u0131-acme.vercel.app",
        "https://shop-\u0661-acme.vercel.app",  # an Arabic digit
        "https://shop-acme.vercelxapp",
    ],
)
def test_an_origin_that_looks_like_a_preview_is_not_allowed(origin: str) -> None:
    assert not parse_origins(PREVIEWS).fullmatch(origin)
    assert not parse_origins("https://shop.example, capacitor://localhost").fullmatch(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "capacitor://localhost:80",
        "capacitor://localhost.evil.example",
        "capacitor://evil",
        "https://localhost",
        "tauri://localhost",
        "CAPACITOR://localhost",
        "xcapacitor://localhost",
        "capacitor:localhost",
    ],
)
def test_an_app_is_allowed_by_its_own_origin_only(origin: str) -> None:
    assert not parse_origins("capacitor://localhost").fullmatch(origin)


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_no_origin_allows_no_page(text: str) -> None:
    for origin in ("", "null", "https://shop.example"):
        assert not parse_origins(text).fullmatch(origin)


SCHEME = "it does not begin with a scheme such as https://"
NAME = "after the scheme comes a host name in ASCII, and an origin has no path"
PORT = "a port is a number up to 65535, and an origin has no path"
WILDCARD = "* may stand once, in the first label of the host name"
MORE_LABELS = "behind the label with * come two more labels, as in https://*.preview.shop.example"


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("*", "it would allow every page"),
        ("shop.example", SCHEME),
        ("null", SCHEME),
        ("https://", SCHEME),
        ("https:shop.example", SCHEME),
        ("htps://shop.example", "its scheme is none of http, https, capacitor, ionic, tauri"),
        ("wss://shop.example", "its scheme is none of http, https, capacitor, ionic, tauri"),
        ("*://shop.example", "its scheme is none of http, https, capacitor, ionic, tauri"),
        ("https://shop.example/checkout", NAME),
        ("https://shop.example?a", NAME),
        ("https://shop.example.", NAME),
        ("https://shop..example", NAME),
        ("https://-shop.example", NAME),
        ("https://shop example", NAME),
        ("https://ada@shop.example", NAME),
        ("https://café.example", NAME),
        ("https://(shop|evil).example", NAME),
        ("https://" + "a." * 130 + "example", NAME),
        ("https://shop.example:", PORT),
        ("https://shop.example:*", PORT),
        ("https://shop.example:65536", PORT),
        ("https://shop.example:٨٠", PORT),
        ("https://shop.example:8080/checkout", PORT),
        ("https://shop.example:443", "browsers leave out the port 443 of https"),
        ("http://shop.example:80", "browsers leave out the port 80 of http"),
        ("https://.*", WILDCARD),
        ("https://**.vercel.app", WILDCARD),
        ("https://*-*.vercel.app", WILDCARD),
        ("https://shop.*.app", WILDCARD),
        ("https://shop.vercel.*", WILDCARD),
        ("https://*", MORE_LABELS),
        ("https://*.app", MORE_LABELS),
        ("https://*-acme.app", MORE_LABELS),
        ("https://*.vercel.app.", MORE_LABELS),
        ("capacitor://*.shop.example", "an origin of capacitor has no *"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused_with_the_reason(entry: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)) as refusal:
        parse_origins(f"https://shop.example, {entry}")
    message = str(refusal.value)
    assert message.startswith("expected origins such as https://shop.example, ")
    assert message.endswith(f"separated by commas, not {entry[:100]!r}: {fault}")

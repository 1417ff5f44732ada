"""The shop's file: what is read of it, what is refused with which line, and what pages load of it."""

import re
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from api.settings import InvalidSettings, read_settings
from api.shop.colours import DEFAULT_COLOURS, LEAST_CONTRAST, TEXTS, contrast, faults, scheme
from api.shop.reading import MAX_FILE, read_shop
from api.shop.shop import LegalText, Seller, Shop
from api.shop.stylesheet import FONTS, stylesheet
from api.storefront.languages import LANGUAGES
from tests.server import Server, serving

ROOT = Path(__file__).parent.parent.parent
STYLES = ROOT / "api" / "storefront" / "styles"
PAGE = (ROOT / "docs" / "shop.md").read_text(encoding="utf-8")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the page's example names."""
    (tmp_path / "northlight.svg").write_bytes(SVG)
    (tmp_path / "northlight.woff2").write_bytes(b"wOF2")
    return tmp_path


def write(folder: Path, text: str) -> str:
    path = folder / "shop.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def example() -> str:
    [found] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert isinstance(found, str)
    return found


class TestPage:
    """docs/shop.md"""

    def test_its_example_is_a_shop(self, folder: Path) -> None:
        shop = read_settings({"DROPZERO_SHOP": write(folder, example())}).shop
        assert (shop.name, shop.logo_url, list(shop.files)) == (
            "Northlight",
            "/shop/northlight.svg",
            ["northlight.svg", "northlight.woff2"],
        )
        address = "Pikk 1\n10123 Tallinn\nEstonia"
        assert shop.seller == Seller("Northlight Clothing OÜ", address, "hello@northlight.example")
        assert shop.seller.contact_url == "mailto:hello@northlight.example"
        assert list(shop.pages) == ["shipping", "returns", "privacy", "terms"]
        shipping = shop.pages["shipping"]
        assert shipping.text("ja") == LegalText("ja", "配送", ("二営業日以内に発送します。",))
        assert shipping.text("fr").language == "en"
        assert shipping.text("fr").paragraphs == (
            "We ship within two working days.",
            "Delivery takes two to five days in Europe.",
        )

    def test_its_tables_are_those_of_the_code(self) -> None:
        rows = {
            row[0]: row for row in re.findall(r"^\| `([a-z_-]+)` \| (.+?) \|(?: `(#\w+)` \| `(#\w+)` \|)?$", PAGE, re.M)
        }
        assert {name: (row[2], row[3]) for name, row in rows.items() if row[2]} == DEFAULT_COLOURS
        assert {name: row[1].replace("`", "") for name, row in rows.items() if not row[2]} == FONTS
        assert f"{MAX_FILE:,} bytes" in PAGE
        assert all(f"`{tag}`" in PAGE for tag in LANGUAGES)

    def test_its_refusal_is_what_the_start_says(self, folder: Path) -> None:
        [message] = re.findall(r"^DROPZERO_SHOP: shop\.toml.*$", PAGE, re.M)
        text = example().replace('"#00594c"', '"#ffb000"', 1)
        with pytest.raises(InvalidSettings) as refused:
            read_settings({"DROPZERO_SHOP": write(folder, text)})
        assert str(refused.value).replace(f"{folder}/", "") == message


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its message is returned
        read_shop(write(folder, textwrap.dedent(text)))
    return str(refused.value).removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[theme]\nname = \nlogo = 'l.svg'", "shop.toml, line 2: Invalid value"),
        ("[theme]\nnaem = 'x'", "shop.toml, line 2: theme.naem: expected one of name, logo, light, dark, fonts"),
        ("tehme = 1", "shop.toml, line 1: tehme: expected one of language, theme, seller, pages"),
        ("language = 'de'", "shop.toml, line 1: language: expected one of en, ja,"),
        ("theme = 'dark'", "shop.toml, line 1: theme: expected a table"),
        ("[theme]\nname = 5", "shop.toml, line 2: theme.name: expected a text in quotes"),
        ('[theme]\nname = "\\u0000"\n', "shop.toml, line 2: theme.name: name must"),
        ("[theme.light]\n\npaper = 'white'", "shop.toml, line 3: theme.light.paper: expected a colour such as #d33a00"),
        (
            "[theme.dark]\npaper = '#fff'",
            "shop.toml, line 1: theme.dark: ink (#f6f1e7) on paper (#ffffff) has a contrast",
        ),
        (
            "[theme]\nlogo = '../logo.svg'",
            "shop.toml, line 2: theme.logo: expected the name of a file beside this one, .svg",
        ),
        ("[theme]\nlogo = 'logo.html'", "shop.toml, line 2: theme.logo: expected the name of a file beside this one"),
        ("[theme]\nlogo = 'gone.svg'", "shop.toml, line 2: theme.logo: [Errno 2]"),
        ("[theme]\nlogo = 'large.png'", f"shop.toml, line 2: theme.logo: large.png has more than {MAX_FILE} bytes"),
        ("[theme.fonts]\nsans = 'a.ttf'", "shop.toml, line 2: theme.fonts.sans: expected the name of a file"),
        ("[theme.fonts]\nsans_bold = 'a.woff2'", "shop.toml, line 2: theme.fonts.sans_bold: it needs sans"),
        ("[seller]\nname = 'N'", "shop.toml, line 1: seller.contact: expected a text in quotes"),
        (
            "[seller]\nname = 'N'\naddress = 'A'\ncontact = 'javascript:x'",
            "shop.toml, line 4: seller.contact: expected a mail",
        ),
        ("[pages.imprint.en]", "shop.toml, line 1: pages.imprint: expected one of shipping, returns, privacy, terms"),
        ("[pages.terms.de]\ntitle='T'", "shop.toml, line 1: pages.terms.de: expected one of en, ja"),
        (
            "[pages.terms.ja]\ntitle = 'T'\ntext = 'x'",
            "shop.toml, line 1: pages.terms: it needs the shop's language: add [pages.terms.en]",
        ),
        ("[pages.terms.en]\ntitle = 'T'\ntext = ' '", "shop.toml, line 3: pages.terms.en.text: expected a text, whose"),
        ("[pages.terms.en]\ntitle = 'T'", "shop.toml, line 1: pages.terms.en.text: expected a text, whose paragraphs"),
        (
            "[pages.terms.en]\ntitle = 'T'\ntext = \"a\\u202eb\"",
            "shop.toml, line 3: pages.terms.en.text: text must not have",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(folder: Path, text: str, message: str) -> None:
    (folder / "large.png").write_bytes(bytes(MAX_FILE + 1))
    assert refusal(folder, text).replace(f"{folder}/", "").startswith(message)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the path of a file in TOML"):
        read_shop(str(tmp_path / "gone.toml"))
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(ValueError, match="expected text in UTF-8"):
        read_shop(str(tmp_path / "latin.toml"))


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#d33a00", "#d33a00") == 1


class TestStyles:
    """The stylesheets of the storefront."""

    def test_the_default_colours_are_theirs_and_can_be_read(self) -> None:
        base = (STYLES / "base.css").read_text(encoding="utf-8")
        found = {
            name: (light, dark) for name, light, dark in re.findall(r"--([a-z-]+): light-dark\((#\w+), (#\w+)\)", base)
        }
        assert {name: tuple(map(full, pair)) for name, pair in found.items()} == DEFAULT_COLOURS
        for place in (0, 1):
            assert list(faults(scheme({}, place))) == []

    def test_what_they_write_on_what_is_checked(self) -> None:
        css = "\n".join(path.read_text(encoding="utf-8") for path in sorted(STYLES.glob("*.css")))
        written: set[tuple[str, str]] = set()
        for rule in re.findall(r"\{([^{}]*)\}", css):
            text = re.search(r"(?<![a-z-])color: var\(--([a-z-]+)\)", rule)
            behind = re.search(r"background(?:-color)?: var\(--([a-z-]+)\)", rule)
            if text is not None:
                written |= {(text[1], behind[1])} if behind else {(text[1], "paper"), (text[1], "surface")}
        assert written <= set(TEXTS)
        assert len(written) > 8


def full(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(digit * 2 for digit in colour[1:])


def test_a_theme_changes_what_it_names(folder: Path) -> None:
    assert stylesheet(Shop().theme) == b""
    css = stylesheet(read_shop(write(folder, example())).theme).decode()
    assert "--accent: light-dark(#00594c, #5ad1bd);" in css
    assert "--on-accent: light-dark(#ffffff, #00201b);" in css
    assert "--paper" not in css
    assert 'src: url("/shop/northlight.woff2") format("woff2");' in css
    assert '--sans: "shop sans", system-ui, sans-serif;' in css
    assert LEAST_CONTRAST == 4.5


async def test_pages_load_the_theme_and_its_files(shared_server: Server, folder: Path) -> None:
    shop = read_shop(write(folder, example()))
    async with serving(replace(shared_server.settings, shop=shop)) as server:
        for path, media_type, words in (
            ("/static/theme.css", "text/css; charset=utf-8", b"--accent"),
            ("/shop/northlight.svg", "image/svg+xml", SVG),
            ("/shop/northlight.woff2", "font/woff2", b"wOF2"),
        ):
            async with server.session.get(server.url + path) as response:
                assert (response.status, response.headers["content-type"]) == (200, media_type)
                assert words in await response.read()
                assert "sandbox" in response.headers["content-security-policy"]
                known = {"if-none-match": response.headers["etag"]}
            async with server.session.get(server.url + path, headers=known) as response:
                assert response.status == 304
        for path in ("/shop/shop.toml", "/shop/..%2fshop.toml", "/shop/"):
            async with server.session.get(server.url + path) as response:
                assert response.status == 404
    async with shared_server.session.get(f"{shared_server.url}/static/theme.css") as response:
        assert (response.status, await response.read()) == (200, b"")

"""Reading the shop's file: TOML, checked once at the start. What is wrong is refused with its line and the reason."""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from api.drops.errors import InvalidInput
from api.drops.limits import checked_description, checked_name
from api.shop.colours import DEFAULT_COLOURS, faults, parse_colour, scheme
from api.shop.shop import PAGES, LegalPage, LegalText, Seller, Shop, ShopFile, Theme
from api.shop.stylesheet import FONTS
from api.storefront.languages import LANGUAGES

MAX_FILE = 300_000
"""Bytes of the shop's file, of a logo or of a font. All are kept in memory, and browsers load them with every page."""

MAX_PARAGRAPHS = 200

_MEDIA_TYPES = {
    "svg": "image/svg+xml",
    "png": "image/png",
    "webp": "image/webp",
    "woff2": "font/woff2",
}
_LOGOS, _FONT_FILES = ("svg", "png", "webp"), ("woff2",)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CONTACT = re.compile(r"https://[!#-;=?-Z\[\]_a-z~]{3,500}|[A-Za-z0-9.!#$%&'*+/=^_`{|}~-]{1,64}@[A-Za-z0-9.-]{3,190}")
_HEADER = re.compile(r"\[([^\[\]#]+)\]\s*(?:#.*)?")
_KEY = re.compile(r"([A-Za-z0-9_.\" -]+?)\s*=")
_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


def read_shop(text: str) -> Shop:
    """The shop of a file, by the file's path. Raises ValueError, which has the file, the line and the reason."""
    path = Path(text).expanduser()
    try:
        source = _read(path).decode()
        values = tomllib.loads(source)
    except OSError as error:
        raise ValueError(f"expected the path of a file in TOML: {error}") from None
    except tomllib.TOMLDecodeError as error:
        line = _LINE.search(str(error))
        where = "" if line is None else f", line {line[1]}"
        raise ValueError(f"{path}{where}: {_LINE.sub('', str(error))}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8") from None
    return _Source(path, source).shop(values)


@dataclass(frozen=True, slots=True)
class _Source:
    """The file that is read. A value's place is the keys that lead to it, such as ("theme", "light", "paper")."""

    path: Path
    text: str

    def shop(self, values: Mapping[str, Any]) -> Shop:
        """Raises ValueError."""
        self._check_keys((), values, ("language", "theme", "seller", "pages"))
        default = values.get("language", "en")
        if default not in LANGUAGES:
            self._refuse(("language",), f"expected one of {', '.join(LANGUAGES)}, not {str(default)[:50]!r}")
        theme = self._table(("theme",), values)
        self._check_keys(("theme",), theme, ("name", "logo", "light", "dark", "fonts"))
        files: dict[str, ShopFile] = {}
        name = {} if "name" not in theme else {"name": self._text(("theme", "name"), theme, checked_name)}
        return Shop(
            logo=None if "logo" not in theme else self._file(("theme", "logo"), theme["logo"], _LOGOS, files),
            theme=self._theme(theme, files),
            seller=self._seller(values),
            pages=self._pages(values, default),
            files=files,
            **name,
        )

    def _theme(self, theme: Mapping[str, Any], files: dict[str, ShopFile]) -> Theme:
        colours = {name: self._colours(("theme", name), theme) for name in ("light", "dark")}
        for place, name in enumerate(colours):
            for fault in faults(scheme(colours[name], place)):
                self._refuse(("theme", name), f"{fault}; choose colours that differ more")
        given = self._table(("theme", "fonts"), theme)
        self._check_keys(("theme", "fonts"), given, FONTS)
        if "sans_bold" in given and "sans" not in given:
            self._refuse(("theme", "fonts", "sans_bold"), "it needs sans beside it")
        fonts = {font: self._file(("theme", "fonts", font), file, _FONT_FILES, files) for font, file in given.items()}
        return Theme(colours["light"], colours["dark"], fonts)

    def _colours(self, place: tuple[str, ...], theme: Mapping[str, Any]) -> dict[str, str]:
        given = self._table(place, theme)
        self._check_keys(place, given, DEFAULT_COLOURS)
        colours = {}
        for name, value in given.items():
            try:
                colours[name] = parse_colour(value)
            except ValueError as error:
                self._refuse((*place, name), str(error))
        return colours

    def _seller(self, values: Mapping[str, Any]) -> Seller | None:
        if "seller" not in values:
            return None
        given, place = self._table(("seller",), values), ("seller",)
        self._check_keys(place, given, ("name", "address", "contact"))
        contact = self._text((*place, "contact"), given, checked_name)
        if not _CONTACT.fullmatch(contact):
            self._refuse((*place, "contact"), f"expected a mail address or a URL of https, not {contact[:50]!r}")
        name = self._text((*place, "name"), given, checked_name)
        return Seller(name, self._text((*place, "address"), given, checked_description), contact)

    def _pages(self, values: Mapping[str, Any], default: str) -> dict[str, LegalPage]:
        given = self._table(("pages",), values)
        self._check_keys(("pages",), given, PAGES)
        pages = {}
        for name in PAGES:
            if name in given:
                place = ("pages", name)
                by_language = self._table(place, given)
                self._check_keys(place, by_language, LANGUAGES)
                if default not in by_language:
                    self._refuse(place, f"it needs the shop's language: add [pages.{name}.{default}]")
                texts = {tag: self._legal_text((*place, tag), by_language) for tag in by_language}
                pages[name] = LegalPage(name, default, texts)
        return pages

    def _legal_text(self, place: tuple[str, ...], by_language: Mapping[str, Any]) -> LegalText:
        given, tag = self._table(place, by_language), place[-1]
        self._check_keys(place, given, ("title", "text"))
        title = self._text((*place, "title"), given, checked_name)
        text = given.get("text")
        if not isinstance(text, str) or not text.strip():
            self._refuse((*place, "text"), "expected a text, whose paragraphs have an empty line between them")
        parts = [part for part in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")) if part.strip()]
        if len(parts) > MAX_PARAGRAPHS:
            self._refuse((*place, "text"), f"expected at most {MAX_PARAGRAPHS} paragraphs, not {len(parts)}")
        return LegalText(
            tag, title, tuple(self._checked((*place, "text"), part, checked_description) for part in parts)
        )

    def _file(self, place: tuple[str, ...], name: Any, endings: Iterable[str], files: dict[str, ShopFile]) -> str:
        """The name of a file beside the shop's own, which is added to `files`."""
        ending = name.rpartition(".")[2] if isinstance(name, str) and _FILE_NAME.fullmatch(name) else ""
        if ending not in endings:
            self._refuse(place, f"expected the name of a file beside this one, .{' or .'.join(endings)}")
        try:
            files[name] = ShopFile(_MEDIA_TYPES[ending], _read(self.path.parent / name))
        except (OSError, ValueError) as error:
            self._refuse(place, str(error))
        return str(name)

    def _table(self, place: tuple[str, ...], values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The table at a place; empty if there is none."""
        table = values.get(place[-1], {})
        if not isinstance(table, dict):
            self._refuse(place, "expected a table, such as [theme]")
        return table

    def _text(self, place: tuple[str, ...], values: Mapping[str, Any], check: Callable[[str, str], str]) -> str:
        value = values.get(place[-1])
        if not isinstance(value, str):
            self._refuse(place, "expected a text in quotes")
        return self._checked(place, value, check)

    def _checked(self, place: tuple[str, ...], value: str, check: Callable[[str, str], str]) -> str:
        try:
            return check(place[-1], value)
        except InvalidInput as error:
            self._refuse(place, str(error))

    def _check_keys(self, place: tuple[str, ...], values: Mapping[str, Any], known: Iterable[str]) -> None:
        for key in values:
            if key not in known:
                self._refuse((*place, key), f"expected one of {', '.join(known)}")

    def _refuse(self, place: tuple[str, ...], reason: str) -> NoReturn:
        line = self._line(place)
        where = "" if line is None else f", line {line}"
        raise ValueError(f"{self.path}{where}: {'.'.join(place)}: {reason}")

    def _line(self, place: tuple[str, ...]) -> int | None:
        """The line of a value, or of the table that it is missing in; None where this finds neither."""
        within: tuple[str, ...] = ()
        found = None
        for number, line in enumerate(self.text.splitlines(), 1):
            if (header := _HEADER.fullmatch(line.strip())) is not None:
                within = _names(header[1])
                if within[: len(place)] == place:
                    return number
                if found is None and within == place[:-1]:
                    found = number
            elif (key := _KEY.match(line)) is not None and (*within, *_names(key[1])) == place:
                return number
        return found


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(name.strip().strip("\"'") for name in dotted.split("."))


def _read(path: Path) -> bytes:
    """Raises OSError, ValueError."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise ValueError(f"{path} has more than {MAX_FILE} bytes; make it smaller")
    return content

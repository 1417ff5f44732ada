"""The stylesheet of a shop's theme: the custom properties of the pages with its own colours and fonts."""

from collections.abc import Mapping

from api.shop.colours import scheme
from api.shop.shop import Theme

FONTS: Mapping[str, str] = {
    "sans": "all texts; a variable font, or the only weight if there is no sans_bold",
    "sans_bold": "headings and buttons, where sans is a font of one weight",
    "mono": "references and code",
}
"""The fonts that a theme can have, and what they are for."""

_FALLBACK = {"sans": "system-ui, sans-serif", "mono": "ui-monospace, monospace"}


def stylesheet(theme: Theme) -> bytes:
    """The stylesheet, which pages load after their own. It is empty for a theme that changes nothing."""
    faces = [_face(font, file, theme.fonts) for font, file in theme.fonts.items()]
    light, dark = scheme(theme.light, 0), scheme(theme.dark, 1)
    properties = [
        f"--{name}: light-dark({light[name]}, {dark[name]});"
        for name in light
        if name in theme.light or name in theme.dark
    ]
    properties += [f'--{font}: "shop {font}", {_FALLBACK[font]};' for font in theme.fonts if font in _FALLBACK]
    if not properties:
        return b""
    root = ":root {\n  " + "\n  ".join(properties) + "\n}\n"
    return ("".join(faces) + root).encode()


def _face(font: str, file: str, fonts: Mapping[str, str]) -> str:
    """The rule of a font. Its texts are shown in another font until it has arrived."""
    family = font.removesuffix("_bold")
    weight = "600 900" if font == "sans_bold" else "100 500" if f"{font}_bold" in fonts else "100 900"
    return (
        f'@font-face {{\n  font-family: "shop {family}";\n  src: url("/shop/{file}") format("woff2");\n'
        f"  font-weight: {weight};\n  font-display: swap;\n}}\n"
    )

"""The headers of a request, read in one pass for everything that looks one up."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, cast

from starlette.types import Scope

Headers: TypeAlias = Mapping[bytes, Sequence[bytes]]
"""The values of each header, by its name in lower case as ASGI has it."""

KEY = "dropzero.headers"
"""The key of an ASGI scope that holds its Headers, once they were read."""


def headers_of(scope: Scope) -> Headers:
    """The headers of a request. They are read at the first call, unless the server has put them into the scope.

    Each look-up in Starlette's Headers is a pass of its own, and a stranger can send a hundred headers.
    """
    headers = scope.get(KEY)
    if headers is None:
        headers = scope[KEY] = by_name(scope["headers"])
    return cast("Headers", headers)


def by_name(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The values of these fields by their names."""
    headers: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        if name in headers:
            headers[name].append(value)
        else:
            headers[name] = [value]
    return headers


def text_of(headers: Headers, name: bytes, default: str = "") -> str:
    """The value of a header, or `default` where it is missing. The values of a repeated name are joined by commas (RFC
    9110, section 5.3)."""
    values = headers.get(name)
    return default if values is None else b",".join(values).decode("latin-1")

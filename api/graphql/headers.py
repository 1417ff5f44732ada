"""The headers of a request, read in one pass."""

from starlette.types import Scope


def read_headers(scope: Scope, names: frozenset[bytes]) -> dict[str, str]:
    """Those of the request's headers that have one of `names`, in lower case as ASGI has them. The values of a repeated
    name are joined by commas (RFC 9110, section 5.3).

    In one pass: each look-up in Starlette's Headers is a pass of its own, and a stranger can send a hundred headers.
    """
    values: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in names:
            values.setdefault(name, []).append(value)
    return {name.decode("latin-1"): b",".join(sent).decode("latin-1") for name, sent in values.items()}

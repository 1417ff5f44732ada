"""The storefront's static files, with the headers that a page which sells should have."""

from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_HEADERS = {
    # Asked for again each time, and answered by 304 where nothing changed: no stale script after an upgrade.
    "cache-control": "no-cache",
    # Nothing from elsewhere runs or loads, and no other site may put the Buy button into a frame of its own.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Storefront(StaticFiles):
    """The files under api/storefront, the page itself at `/`."""

    def __init__(self) -> None:
        super().__init__(directory=Path(__file__).with_name("storefront"), html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response

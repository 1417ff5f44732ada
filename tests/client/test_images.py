"""Images of other servers: downloaded with a bound, and without the token of the shop's own server."""

import pytest
from aiohttp import web

from api.client.graphql import RequestFailed, graphql_clients
from tests.listener import running


async def test_an_image_of_another_server_is_downloaded_without_the_token() -> None:
    tokens: list[str | None] = []

    async def respond(request: web.Request) -> web.Response:
        tokens.append(request.headers.get("authorization"))
        return web.Response(status=404) if request.path == "/gone" else web.Response(body=bytes(100))

    app = web.Application()
    app.router.add_get("/{name}", respond)
    async with running(web.AppRunner(app)) as url, graphql_clients(["http://shop.test"], "secret", 1, None) as [client]:
        assert await client.download(f"{url}/tee.webp", 100) == bytes(100)
        for target, reason in (
            (f"{url}/tee.webp", "has more than 99 bytes"),
            (f"{url}/gone", "answered 404"),
            ("https://", "is not an address"),
            ("http://127.0.0.1:1/tee.webp", "no answer from http://127.0.0.1:1/tee.webp: "),
        ):
            with pytest.raises(RequestFailed, match=reason):
                await client.download(target, 99)
    assert tokens == [None, None, None]

"""Images over HTTP: `POST /images` keeps one, for the operator, and `GET /images/NAME` answers with it.

The folder is of one machine. So this is for a laptop: with endpoints, images have URLs of the shop's own storage.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from api.callers import identify
from api.graphql.headers import headers_of, text_of
from api.graphql.requests import Refusal, read_body
from api.identity.admission import Admission
from api.identity.authenticator import Authenticator
from api.identity.caller import Role
from api.images.formats import MEDIA_TYPES, InvalidImage
from api.images.store import NAME, PIECE, ImageStore, StoredImage, StoreFull

logger = logging.getLogger("dropzero.operator")

UPLOAD = "/images"
"""The path of uploads."""

IMAGE = "/images/{name}"
"""The path of an image."""

MAX_UPLOAD = 5_000_000
"""Bytes of an image. A photo of 4,000 x 3,000 pixels has 2 to 4 MB as JPEG, and a picture for a page 0.1 to 0.5."""

MOST_UPLOADS = 2
"""Uploads of one process at a time. Each has a whole image in memory."""

RETRY_AFTER = 2
"""Seconds after which an upload that was refused can come back."""

MOST_THREADS = 2
"""Threads that read or write images at a time. The others of the event loop's threads look up host names."""

NO_STORE = (
    "this server keeps no images: its endpoints are of several machines, and a folder is of one. Put the image into a "
    "storage of your own, and name it by its URL, such as https://shop.example/tee.webp"
)

_HEADERS = {
    "cache-control": "public, max-age=31536000, immutable",  # the name is made of the content
    # What is opened as a page of its own runs nothing, and has no origin.
    "content-security-policy": "default-src 'none'; sandbox",
}

P = ParamSpec("P")
R = TypeVar("R")


class Images:
    """The endpoint of both paths, an ASGI application."""

    def __init__(self, store: ImageStore | None, authenticator: Authenticator, admission: Admission) -> None:
        """`store`: None for a server that keeps no images."""
        self._store = store
        self._authenticator = authenticator
        self._admission = admission
        self._threads = asyncio.Semaphore(MOST_THREADS)
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            if "name" in request.path_params:
                await self._show(request, send)
            else:
                await (await self._upload(request))(scope, receive, send)
        except ClientDisconnect:
            return

    async def _upload(self, request: Request) -> Response:
        """The answer to an upload: 201 with the image's `url`, `width` and `height`."""
        caller = await identify(request, self._authenticator, self._admission.clients, Role.OPERATOR)
        if isinstance(caller, Response):
            return caller
        if self._store is None:
            return _refusal(403, NO_STORE)
        if self._uploads >= MOST_UPLOADS:
            response = _refusal(503, f"{MOST_UPLOADS} images arrive already; send yours again in a moment")
            response.headers["retry-after"] = str(RETRY_AFTER)
            return response
        self._uploads += 1
        try:
            stored = await self._stored(request, self._store)
        except Refusal as refusal:
            return _refusal(refusal.status, str(refusal))
        except InvalidImage as error:
            return _refusal(415, str(error))
        except StoreFull as error:
            return _refusal(507, str(error))
        except OSError as error:
            logger.warning("an image cannot be kept: %s", error)
            return _refusal(507, f"the image cannot be kept: {error.strerror}; see DROPZERO_DATA")
        finally:
            self._uploads -= 1
        logger.info("%s uploaded the image %s", caller.name, stored.name)
        url = f"{UPLOAD}/{stored.name}"
        return JSONResponse({"url": url, "width": stored.width, "height": stored.height}, 201, {"location": url})

    async def _stored(self, request: Request, store: ImageStore) -> StoredImage:
        """Raises Refusal, ClientDisconnect, InvalidImage, StoreFull, OSError."""
        sent = headers_of(request.scope)
        if not text_of(sent, b"content-type").lower().startswith("image/"):
            raise Refusal(415, "send the image itself as the body, with a content-type such as image/webp")
        return await self._in_thread(store.add, await read_body(sent, request.receive, MAX_UPLOAD))

    async def _show(self, request: Request, send: Send) -> None:
        """Answer with an image, piece by piece, as fast as the client reads. Raises OSError.

        Starlette's FileResponse keeps the file open for as long as a slow client reads, and any number of threads busy.
        """
        name = request.path_params["name"]
        sent, store = headers_of(request.scope), self._store
        try:
            if store is None or not NAME.fullmatch(name):
                raise FileNotFoundError
            size = await self._in_thread(store.size, name)
        except FileNotFoundError:
            await _refusal(404, "there is no such image")(request.scope, request.receive, send)
            return
        headers = {**_HEADERS, "etag": f'"{name}"'}
        if f'"{name}"' in text_of(sent, b"if-none-match"):
            await Response(status_code=304, headers=headers)(request.scope, request.receive, send)
            return
        headers["content-length"] = str(size)
        start = Response(headers=headers, media_type=MEDIA_TYPES[name.rpartition(".")[2]])
        await send({"type": "http.response.start", "status": 200, "headers": start.raw_headers})
        for offset in range(0, size if request.method == "GET" else 0, PIECE):
            piece = await self._in_thread(store.read, name, offset)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _in_thread(self, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        async with self._threads:
            return await asyncio.to_thread(call, *arguments, **named)


def _refusal(status: int, message: str) -> Response:
    return PlainTextResponse(f"{message}\n", status)

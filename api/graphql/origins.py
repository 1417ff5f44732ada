"""Origins: which pages may open a websocket."""

import re

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket
from strawberry.http.websocket_origin import is_same_origin

from api.identity.admission import Admission

REFUSED_ORIGINS = "websockets of pages of other origins"
"""The kind of refusals."""

_NO_SNIFFING = {"x-content-type-options": "nosniff"}  # uvicorn's default headers are not in an answer to a handshake


def may_connect(websocket: WebSocket, allowed: re.Pattern[str]) -> bool:
    """Whether the page that opens the websocket is one of ours, or of an origin that `allowed` matches. Browsers let
    any page open a socket to any host and say whose page it is; this is the only check there is.

    Without an Origin it is no browser. Sec-Fetch-Site is the browser's own word too, and holds where a proxy has
    changed the Host.
    """
    headers = websocket.headers
    origin = headers.get("origin")
    return (
        origin is None
        or headers.get("sec-fetch-site") == "same-origin"
        or is_same_origin(origin, headers.get("host"))
        or allowed.fullmatch(origin) is not None
    )


async def refuse_page(websocket: WebSocket, admission: Admission) -> None:
    """Answer the handshake of a page that may not connect with 403, and count it."""
    client = admission.clients.of(websocket.scope)
    admission.refusals.count(REFUSED_ORIGINS, client, websocket.headers["origin"])
    refusal = PlainTextResponse("pages of this origin may not connect\n", 403, headers=_NO_SNIFFING)
    await websocket.send_denial_response(refusal)

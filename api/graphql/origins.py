"""Origins: the web pages that may open a websocket."""

import re

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket
from strawberry.http.websocket_origin import is_same_origin

from api.identity.admission import Admission

REFUSED_ORIGINS = "websockets of pages of other origins"
"""The kind under which refusals are counted."""

_NO_SNIFFING = {"x-content-type-options": "nosniff"}  # uvicorn adds no default headers to a refused handshake


def may_connect(websocket: WebSocket, allowed: re.Pattern[str]) -> bool:
    """Whether the page that opens the websocket is from this server, or from an origin that `allowed` matches.
    Browsers let any page open a websocket to any host, and send the page's origin along: nothing else checks it.

    A request without Origin does not come from a browser. Browsers set Sec-Fetch-Site as well. It stays true where a
    proxy has changed the Host.
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
    """Answer 403 to the handshake of a page that may not connect, and count the refusal."""
    client = admission.clients.of(websocket.scope)
    admission.refusals.count(REFUSED_ORIGINS, client, websocket.headers["origin"])
    refusal = PlainTextResponse("pages of this origin may not connect\n", 403, headers=_NO_SNIFFING)
    await websocket.send_denial_response(refusal)

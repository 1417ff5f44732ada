"""/healthz, whether the process answers, and /readyz, whether a load balancer should send it requests."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from api.database.regions import Regions

DRAINING = "draining"
"""The key that the lifespan state has once the server drains. From then on /readyz answers 503."""


class Health:
    """The endpoints."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions

    async def healthz(self, request: Request) -> Response:
        """Always 200."""
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request) -> Response:
        """200 while any Region answers, with the health of each; 503 otherwise, and while the server drains."""
        if getattr(request.state, DRAINING, False):
            return JSONResponse({"draining": True}, status_code=503)
        healthy = {region.name: region.healthy for region in await self._regions.health()}
        return JSONResponse({"regions": healthy}, status_code=200 if any(healthy.values()) else 503)

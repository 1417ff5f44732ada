"""Joint turns: turns for work that several clients wait for."""

import asyncio
from collections.abc import Callable, Iterable

from api.identity.turns import Turns


class JointTurns:
    """Turns for one piece of work that several clients wait for. Of these clients, the one that has used least pays.

    So nobody waits longer or pays more than alone. If the client that came first paid, a client that has used up its
    share could keep the work waiting, and all other clients with it.
    """

    def __init__(self, turns: Turns, clients: Iterable[str]) -> None:
        self._turns = turns
        self.payer = min(clients, key=turns.used)
        self._requested: dict[asyncio.Future[None], tuple[float, Callable[[], None]]] = {}
        """The turns that the work waits for: the seconds that each pays for, and what withdraws the payer's request."""

    def join(self, client: str) -> None:
        """Add a client that waits for the work. It becomes the payer if it has used less than the payer."""
        if self._turns.used(client) < self._turns.used(self.payer):
            self.payer = client
            for granted, (used, withdraw) in list(self._requested.items()):
                withdraw()
                self._request(granted, used)

    async def pay(self, client: str, used: float) -> None:
        """Wait for a turn of the payer, whatever `client` is, that pays for `used` seconds. Raises RateLimited when no
        turn came in time."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request(granted, used)
        try:
            async with asyncio.timeout(self._turns.patience):
                await granted
        except TimeoutError:
            raise self._turns.refusal() from None
        finally:
            _, withdraw = self._requested.pop(granted)
            withdraw()

    def _request(self, granted: "asyncio.Future[None]", used: float) -> None:
        def grant() -> None:
            if not granted.done():
                granted.set_result(None)

        self._requested[granted] = used, self._turns.later(self.payer, used, grant)

"""The end of a subscription whose caller's token expires."""

import asyncio
import time
from collections.abc import Awaitable
from math import inf
from typing import TypeVar

from api.identity.caller import Caller
from api.identity.errors import Unauthenticated

T = TypeVar("T")


async def before_expiry(caller: Caller, waiting: Awaitable[T]) -> T:
    """The result, if it comes while the caller's token is valid. Raises Unauthenticated when the token expires."""
    left = None if caller.expires_at == inf else caller.expires_at - time.time()
    try:
        return await asyncio.wait_for(waiting, left)
    except TimeoutError:
        raise Unauthenticated("the token has expired: sign in again, and subscribe again") from None

"""A stand-in for an Aurora DSQL cluster: one database of a PostgreSQL, and regional endpoints before it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg

from tests.dsql.catalogue import Catalogue
from tests.dsql.certificates import Authority
from tests.dsql.conversation import Conversation
from tests.dsql.login import log_in
from tests.dsql.metering import Meter
from tests.dsql.session import Session
from tests.dsql.stand_in import StandIn
from tests.dsql.wire import Refused


class Cluster:
    """`database_url` is that of a PostgreSQL on a Unix socket, which accepts the login of every role. Clients see its
    database as `postgres`, its role postgres as `admin`, and its other roles under their own names.

    `meter` counts what the transactions of all endpoints cost.
    """

    def __init__(self, database_url: str, authority: Authority) -> None:
        self._database_url = database_url
        self._authority = authority
        self.catalogue = Catalogue(database_url)
        self.meter = Meter(database_url)

    @contextlib.asynccontextmanager
    async def endpoint(self, region: str | None) -> AsyncIterator[StandIn]:
        """An endpoint of the cluster in a Region, until the block ends. All endpoints are the same database.

        An endpoint of the Region None accepts tokens of any Region.
        """
        endpoint = StandIn(region, self._authority, self._serve)
        await endpoint.up()
        self.meter.regions[region] += 1
        try:
            yield endpoint
        finally:
            self.meter.regions -= Counter([region])
            await endpoint.close()
            if not self.meter.regions:
                await self.catalogue.close()

    async def _serve(self, endpoint: StandIn, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            endpoint.step()
            backend = await log_in(endpoint, self._database_url, reader, writer)
            age = asyncio.get_running_loop().call_later(endpoint.max_age, writer.transport.abort)
            try:
                session = Session(endpoint, self.catalogue, self.meter, backend)
                await Conversation(endpoint, session, reader, writer).run()
            finally:
                age.cancel()
                backend.close()
        except Refused as refused:
            writer.write(refused.response)
            await writer.drain()
            writer.close()
            await writer.wait_closed()


async def create_role(database_url: str, role: str) -> None:
    """Create a custom role, if it does not exist. It may read and write every row, and change no schema.

    Roles belong to the whole server, so one call is enough for all databases, and further calls do no harm.
    """
    connection = await asyncpg.connect(database_url)
    try:
        with contextlib.suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
            await connection.execute(f'CREATE ROLE "{role}" LOGIN IN ROLE pg_read_all_data, pg_write_all_data')
            # In place of a second: on a cluster nothing waits for a lock. A lock is held for milliseconds here.
            await connection.execute(f"ALTER ROLE \"{role}\" SET deadlock_timeout = '20ms'")
    finally:
        await connection.close()

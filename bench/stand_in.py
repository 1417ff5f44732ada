"""Two Regions of a stand-in for Aurora DSQL, in a process of their own, that stop and answer again on command.

Used by bench.failover; it reads commands from its standard input, one a line: down, hang, up.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from api.database.embedded import embedded_postgres
from api.database.endpoint import Endpoint
from api.database.migrations import load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from tests.dsql.certificates import Authority
from tests.dsql.cluster import Cluster, create_role

REGIONS = ("ap-northeast-1", "ap-northeast-2")
COMMIT_LATENCY = 0.02
"""Seconds."""


async def serve(database_url: str, directory: Path) -> None:
    async with Pool(Endpoint("behind", database_url), size=1) as pool:
        await migrate(pool, load_migrations(migrations_directory()))
    await create_role(database_url, "app")
    cluster = Cluster(database_url, Authority(directory))
    async with cluster.endpoint(REGIONS[0]) as home, cluster.endpoint(REGIONS[1]) as peer:
        home.commit_latency = peer.commit_latency = COMMIT_LATENCY
        print(home.url, peer.url, database_url, flush=True)
        while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
            match command:
                case "down":
                    home.down()
                case "hang":
                    home.hang()
                case "up":
                    home.release()
                    home.down()  # connections that got no answer are closed
                    await home.up()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, embedded_postgres(Path(directory) / "data") as database_url:
        asyncio.run(serve(database_url, Path(directory)))


if __name__ == "__main__":
    main()

"""The catalogue that all endpoints of a cluster share: the version of the schema, and the jobs that build indexes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

# All of this is made in the test's own database, before the first statement that needs it.
#
# PostgreSQL makes the index at once and without UNIQUE, so that no row can make it fail. Then the job does what is slow
# in a real cluster and can fail: it reads all rows into the index and checks whether they are unique. Until then the
# index is not valid, but new rows must be unique already, as in a real cluster. A job's id derives from the
# transaction, because the statements of a transaction run a second time when it commits.
_INSTALL = """
CREATE SCHEMA sys;
GRANT USAGE ON SCHEMA sys TO PUBLIC;

CREATE TABLE sys.jobs (
    job_id text PRIMARY KEY, status text NOT NULL, details text, job_type text NOT NULL, class_id oid, object_id oid,
    object_name text, start_time timestamptz NOT NULL DEFAULT now(), update_time timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON sys.jobs TO PUBLIC;

CREATE FUNCTION sys.version() RETURNS text LANGUAGE sql AS $$ SELECT 'PostgreSQL 16' $$;
CREATE FUNCTION sys.server_version() RETURNS text LANGUAGE sql AS $$ SELECT '16.15' $$;
CREATE FUNCTION sys.current_database() RETURNS name LANGUAGE sql AS $$ SELECT 'postgres'::name $$;

CREATE FUNCTION sys.submit_job(index oid, is_unique boolean) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    id text := left(translate(md5(pg_current_xact_id()::text || index::regclass), '0123456789', 'qrstuvwxyz'), 26);
BEGIN
    UPDATE pg_index SET indisvalid = false, indisunique = is_unique WHERE indexrelid = index;
    INSERT INTO sys.jobs (job_id, status, job_type, class_id, object_id, object_name)
    VALUES (id, 'submitted', 'INDEX_BUILD', 'pg_class'::regclass, index, index::regclass);
    RETURN id;
END $$;

CREATE FUNCTION sys.create_index(statement text, relation text, is_unique boolean) RETURNS SETOF text LANGUAGE plpgsql
AS $$
DECLARE
    present oid[] := ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = relation::regclass);
    made oid;
BEGIN
    EXECUTE statement;
    SELECT indexrelid INTO made FROM pg_index
    WHERE indrelid = relation::regclass AND indexrelid <> ALL (present);
    IF made IS NOT NULL THEN  -- it is null when IF NOT EXISTS found one of the name
        RETURN NEXT sys.submit_job(made, is_unique);
    END IF;
END $$;

CREATE PROCEDURE sys.wait_for_job(id text, INOUT succeeded boolean DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
    SELECT status = 'completed' INTO succeeded FROM sys.jobs WHERE job_id = id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'job "%" does not exist', id;
    END IF;
END $$;
"""
_START = "UPDATE sys.jobs SET status = 'processing', update_time = now() WHERE job_id = $1 RETURNING object_name"
_FINISH = "UPDATE sys.jobs SET status = $2, details = $3, update_time = now() WHERE job_id = $1"


class Catalogue:
    """`version` rises by one with every change of the schema. Other attributes are faults of jobs:

    `run_jobs`: while it is cleared, jobs do not run, and indexes stay not valid.
    `failing_jobs`: how many of the next jobs fail. Each failure lowers the count by one.
    `failed_status`: the status in sys.jobs of a job that failed. Its details hold the error.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._installed = False
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self.version = 0
        self.changing = asyncio.Lock()
        self.functions: set[str] = set()
        self.run_jobs = asyncio.Event()
        self.run_jobs.set()
        self.failing_jobs = 0
        self.failed_status = "failed"

    async def install(self) -> None:
        """Make the schema sys, if it does not exist."""
        if self._installed:
            return
        async with self.changing, self._database() as database:
            if not await database.fetch("SELECT FROM pg_namespace WHERE nspname = 'sys'"):
                await database.execute(_INSTALL)
            self._installed = True

    def submit(self, job_id: str) -> None:
        self._jobs[job_id] = asyncio.create_task(self._build(job_id))

    async def finished(self, job_id: str) -> None:
        """Wait for a job. Returns at once for an unknown id."""
        if job_id in self._jobs:
            await asyncio.wait([self._jobs[job_id]])

    async def close(self) -> None:
        """Cancel the jobs that have not run. Raises an error of the stand-in itself."""
        jobs, self._jobs = self._jobs, {}
        for task in jobs.values():
            task.cancel()
        for result in await asyncio.gather(*jobs.values(), return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _build(self, job_id: str) -> None:
        await self.run_jobs.wait()
        async with self.changing, self._database() as database:
            index = await database.fetchval(_START, job_id)
            status, details = "completed", None
            try:
                if self.failing_jobs:
                    self.failing_jobs -= 1
                    raise asyncpg.InternalServerError("the job was told to fail")
                await database.execute(f"REINDEX INDEX {index}")
            except asyncpg.PostgresError as error:
                status, details = self.failed_status, str(error)
            await database.execute(_FINISH, job_id, status, details)
            self.version += 1

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self._database_url)
        try:
            yield connection
        finally:
            await connection.close()

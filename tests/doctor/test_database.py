"""What the doctor finds in the database: the schema, rights, indexes, room for connections, and one for all Regions."""

import contextlib

import asyncpg

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from api.doctor.database import check_one_database, check_room, check_schema
from api.doctor.finding import Finding, Level
from tests.doctor.findings import not_ok
from tests.dsql.cluster import Cluster
from tests.dsql.stand_in import StandIn
from tests.engines import DSQL, on_both_engines
from tests.patience import PATIENT_TIMES
from tests.regions import HOME, PEER


async def schema_of(pool: Pool) -> list[Finding]:
    return not_ok(await check_schema(pool, embedded=False))


@on_both_engines
async def test_nothing_is_wrong_with_a_database_that_is_up_to_date(pool: Pool) -> None:
    assert [finding.check for finding in await check_schema(pool, embedded=False)] == ["schema", "rights", "indexes"]
    assert await schema_of(pool) == []


async def test_a_schema_of_another_version_is_found(pool: Pool, behind: Pool) -> None:
    await behind.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'later', 'x')")
    [ahead] = await schema_of(pool)
    assert (ahead.level, ahead.check) == (Level.WARNING, "schema")
    assert "9999_later" in ahead.found

    await behind.execute("DELETE FROM schema_migrations WHERE version = 24")
    [pending] = await schema_of(pool)
    assert (pending.level, pending.mend) == (Level.FAILED, "dropzero migrate")
    assert "are missing, from 0024_events on" in pending.found
    [embedded] = await check_schema(pool, embedded=True)
    assert embedded.level is Level.OK

    await behind.execute("UPDATE schema_migrations SET checksum = 'another' WHERE version = 3")
    [changed] = await schema_of(pool)
    assert changed.level is Level.FAILED
    assert "migration 0003_orders was changed after this database applied it" in changed.found
    assert "restore the file" in changed.mend


async def test_every_missing_right_is_named_with_its_grant(behind: Pool, home: StandIn, tokens: AuthTokens) -> None:
    with contextlib.suppress(asyncpg.DuplicateObjectError):  # roles belong to the whole server
        await behind.execute("CREATE ROLE stranger LOGIN")
    await behind.execute("GRANT SELECT ON schema_migrations TO stranger")
    async with Pool(Endpoint(HOME, home.url_as("stranger")), 1, tokens, PATIENT_TIMES.pool) as pool:
        found = await schema_of(pool)
        for finding in found:
            assert finding.level is Level.FAILED
            await behind.execute(finding.mend.partition(": ")[2])  # the command is the mend
        assert {finding.check for finding in found} == {"rights"}
        assert await schema_of(pool) == []


@on_both_engines
async def test_an_index_that_cannot_be_used_is_found(engine: str, pool: Pool, behind: Pool, cluster: Cluster) -> None:
    await behind.execute("DROP INDEX orders_by_buyer")
    await behind.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_by_product'::regclass")
    if engine == DSQL:
        await cluster.catalogue.install()
        await behind.execute(
            "INSERT INTO sys.jobs (job_id, status, job_type, object_name, details) "
            "VALUES ('j', 'completed', 'INDEX_BUILD', 'public.orders_by_product', 'the disk is full')"
        )
    missing, invalid = await schema_of(pool)
    create = f"CREATE INDEX{' ASYNC' if engine == DSQL else ''} IF NOT EXISTS"
    assert missing.found.startswith("orders_by_buyer does not exist;")
    assert missing.mend == f"as the owner: {create} orders_by_buyer ON orders (user_ref, created_at, id)"
    assert invalid.found.startswith("orders_by_product is not valid")
    assert ("its job failed: the disk is full" in invalid.found) == (engine == DSQL)
    assert invalid.mend.startswith(f"as the owner: DROP INDEX orders_by_product; {create} orders_by_product ON orders")
    assert {missing.level, invalid.level} == {Level.FAILED}
    if engine != DSQL:
        for finding in (missing, invalid):
            for statement in finding.mend.partition(": ")[2].split("; "):
                await behind.execute(statement)
        assert await schema_of(pool) == []


@on_both_engines
async def test_connections_beyond_what_the_database_accepts_are_found(engine: str, pool: Pool) -> None:
    assert (await check_room(pool, 2, connections=10, workers=1)).level is Level.OK
    most = 10_000 if engine == DSQL else 97
    [finding] = not_ok([await check_room(pool, 1, connections=most // 2, workers=2)])
    assert finding.level is Level.FAILED
    assert f"a server opens up to {2 * (most // 2 + 1)}" in finding.found
    if engine != DSQL:  # those that are open now leave no room for as many
        assert (await check_room(pool, 1, connections=most - 1, workers=1)).level is Level.WARNING


async def test_endpoints_of_two_databases_are_found(pool: Pool, behind: Pool, shared_database_url: str) -> None:
    [same] = await check_one_database([pool, behind])
    assert same.level is Level.OK
    await behind.execute("INSERT INTO products (id, name, drop_name) VALUES (gen_random_uuid(), 'Tee', 'First')")
    async with Pool(Endpoint(PEER, shared_database_url), 1, times=PATIENT_TIMES.pool) as other:
        [finding] = not_ok(await check_one_database([pool, other]))
    assert finding.level is Level.FAILED
    assert "would sell the stock twice" in finding.found

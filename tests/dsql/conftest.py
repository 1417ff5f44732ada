"""A cluster for each test, before one empty database, and connections to its endpoints."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import boto3
import pytest

from tests.dsql.certificates import HOST, Authority
from tests.dsql.cluster import Cluster
from tests.dsql.stand_in import StandIn
from tests.dsql.token import ACCESS_KEY_ID, ADMIN, SECRET_ACCESS_KEY
from tests.patience import PATIENCE
from tests.regions import HOME

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Connect: TypeAlias = Callable[..., AbstractAsyncContextManager[Connection]]


@pytest.fixture(scope="session")
async def cluster_database(postgres: str) -> str:
    """The URL of a database for all tests of the stand-in, one after the other: making one takes longer than a test."""
    connection = await asyncpg.connect(postgres)
    await connection.execute("CREATE DATABASE behind_the_stand_in")
    await connection.close()
    return postgres.replace("/postgres?", "/behind_the_stand_in?", 1)


@pytest.fixture
async def cluster_url(cluster_database: str) -> str:
    """The URL of the empty database behind the cluster, for statements that do not go through the stand-in."""
    connection = await asyncpg.connect(cluster_database)
    await connection.execute("DROP SCHEMA IF EXISTS sys, public CASCADE; CREATE SCHEMA public")
    await connection.close()
    return cluster_database


@pytest.fixture
async def cluster(cluster_url: str, authority: Authority, app_role: None) -> Cluster:
    return Cluster(cluster_url, authority)


@pytest.fixture(scope="session")
def sign() -> Callable[..., str]:
    """A function that signs a token with boto3, as an application does, for a role, a Region and a host."""
    client = boto3.client("dsql", HOME, aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET_ACCESS_KEY)

    def sign(role: str, region: str = HOME, host: str = HOST, **more: Any) -> str:
        if role == ADMIN:
            return str(client.generate_db_connect_admin_auth_token(host, region, **more))
        return str(client.generate_db_connect_auth_token(host, region, **more))

    return sign


@pytest.fixture(scope="session")
def connect(authority: Authority, sign: Callable[..., str]) -> Connect:
    """A function that opens a connection to an endpoint, and closes it at the end of the block."""
    trusting = ssl.create_default_context(cafile=authority.file)

    @contextlib.asynccontextmanager
    async def connect(endpoint: StandIn, role: str = ADMIN, **more: Any) -> AsyncIterator[Connection]:
        options = {
            "host": HOST,
            "port": urlsplit(endpoint.url).port,
            "user": role,
            "password": sign(role, endpoint.region or HOME),
            "database": "postgres",
            "ssl": trusting,
            "timeout": PATIENCE,
            "command_timeout": PATIENCE,
            **more,
        }
        connection = await asyncpg.connect(**options)
        try:
            yield connection
        finally:
            connection.terminate()

    return connect


@pytest.fixture
async def table(cluster_url: str) -> None:
    """A table `t` with the rows (1, 0) and (2, 0)."""
    connection = await asyncpg.connect(cluster_url)
    await connection.execute("CREATE TABLE t (id integer PRIMARY KEY, value integer)")
    await connection.execute("INSERT INTO t VALUES (1, 0), (2, 0)")
    await connection.close()

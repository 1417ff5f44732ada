"""Pools through an endpoint that fails on demand, and publishers that read seldom or often."""

from collections.abc import AsyncIterator

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from api.drops.stock import StockPublisher
from tests.drops.watching import OFTEN, SELDOM, CountingPool, publishing
from tests.faults import Faulty
from tests.patience import PATIENT_TIMES


@pytest.fixture
async def fragile(faulty: Faulty, tokens: AuthTokens) -> AsyncIterator[Pool]:
    """The test's database, through an endpoint that fails on demand."""
    async with Pool(Endpoint("here", faulty.url), 10, tokens, PATIENT_TIMES.pool) as pool:
        yield pool


@pytest.fixture
async def counting(faulty: Faulty, tokens: AuthTokens) -> AsyncIterator[CountingPool]:
    """The pool that the publisher reads through, which can fail; the tests change the stock through another."""
    async with CountingPool(Endpoint("here", faulty.url), tokens) as pool:
        yield pool


@pytest.fixture
async def seldom(counting: Pool) -> AsyncIterator[StockPublisher]:
    """A publisher that reads once. Its second reading would come long after the end of a test."""
    async with publishing(counting, SELDOM) as publisher:
        yield publisher


@pytest.fixture
async def often(counting: Pool) -> AsyncIterator[StockPublisher]:
    """A publisher that reads every 10 ms."""
    async with publishing(counting, OFTEN) as publisher:
        yield publisher

"""The schemas, each with both ways to execute its operations, and silence about the defects that tests make."""

import logging
from collections.abc import Iterator
from contextlib import closing

import pytest

from api.graphql.schema import make_schema
from tests.graphql.differential.strawberries import strawberry_schema
from tests.graphql.differential.synthetic import synthetic_schema
from tests.graphql.differential.ways import Ways


@pytest.fixture(scope="session")
def synthetic() -> Iterator[Ways]:
    """The schema that has everything."""
    with closing(Ways(synthetic_schema())) as ways:
        yield ways


@pytest.fixture(scope="session")
def real() -> Iterator[Ways]:
    """The API's own schema."""
    with closing(Ways(make_schema())) as ways:
        yield ways


@pytest.fixture(scope="session")
def strawberries() -> Iterator[Ways]:
    """A schema that Strawberry makes, with everything that Strawberry has."""
    with closing(Ways(strawberry_schema())) as ways:
        yield ways


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Log nothing: each defect is logged with its traceback, and the tests make thousands of them."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)

"""All tests of the drops run twice: on PostgreSQL itself, and through a stand-in for Aurora DSQL."""

import pytest


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines

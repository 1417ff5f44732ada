"""The two databases that the tests run on: PostgreSQL itself, and a stand-in for Aurora DSQL before it."""

import pytest

POSTGRESQL, DSQL = "postgresql", "dsql"

on_both_engines = pytest.mark.parametrize("engine", [POSTGRESQL, DSQL])
"""For single tests. Whole modules and classes override the fixture `engine` with `both_engines`."""

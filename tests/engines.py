"""The two databases that the tests run on: PostgreSQL itself, and the stand-in for Aurora DSQL before it."""

import pytest

POSTGRESQL, DSQL = "postgresql", "dsql"

on_both_engines = pytest.mark.parametrize("engine", [POSTGRESQL, DSQL])
"""For a single test. A whole module or class overrides the fixture `engine` with `both_engines`."""

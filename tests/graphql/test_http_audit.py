"""The audit of the GraphQL-over-HTTP specification's own reference implementation, npm's graphql-http."""

import pytest

from tests.graphql.npm import Node
from tests.server import Server

pytestmark = pytest.mark.npm

CASES = 61
"""What this version of the audit checks: a case that is gone from its output has not passed."""


async def test_the_audit_of_graphql_over_http_finds_nothing(server: Server, node: Node) -> None:
    results = await node.run("http_audit.mjs", f"{server.url}/graphql")

    assert [result for result in results if result["status"] != "ok"] == []
    assert len(results) == CASES

"""The audit of the GraphQL-over-HTTP specification's own reference implementation, npm's graphql-http."""

import pytest

from tests.npm import Node
from tests.server import Server

pytestmark = pytest.mark.npm

CASES = 61
"""The cases of this version of the audit. A case that is missing from its output has not passed."""


async def test_every_case_of_the_audit_passes(server: Server, node: Node) -> None:
    results = await node.run("http_audit.mjs", f"{server.url}/graphql")

    assert [result for result in results if result["status"] != "ok"] == []
    assert len(results) == CASES

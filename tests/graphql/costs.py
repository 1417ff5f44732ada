"""The cost of documents, as the server counts it."""

from typing import Any

from api.graphql.documents import Documents

EACH = "products({}) {{ edges {{ cursor node {{ name }} }} }}"
"""A page whose rows have three fields each: cursor, node, name."""


def of_rows(rows: int) -> int:
    """The cost of EACH with that many rows. `products` and `edges` are two fields of their own."""
    return 2 + 3 * rows


def cost(documents: Documents, text: str, variables: dict[str, Any] | None = None, name: str | None = None) -> int:
    return documents.prepare(text).operations[name].cost.of(variables or {})

"""The server's objects that only the garbage collector can free."""

import gc
from collections import Counter

from graphql.validation.validation_context import VariableUsageVisitor

MODULES = (
    "api.",
    "graphql.error.",
    "graphql.execution.",
    "graphql.validation.",
    "uvicorn.",
    "starlette.",
    "websockets.server",
)
"""The modules whose classes the server's objects have."""

VISITS = 20
"""The number of equal visits that a test makes."""

LEFT = VISITS // 2
"""Objects of one class that count as left behind: one for every second visit. The last visits may still have theirs."""


def servers_objects() -> Counter[str]:
    """Count the objects of the server's own classes and of its libraries' that have not been freed, by class.

    One class is left out: graphql-core keeps some 30 objects of it for each document, in a place that we cannot clear.
    """
    classes = (type(each) for each in gc.get_objects() if type(each) is not VariableUsageVisitor)
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in classes)
    return Counter(name for name in names if name.startswith(MODULES))

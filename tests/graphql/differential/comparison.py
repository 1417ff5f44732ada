"""Executes one operation both ways, and checks that the answers are the same."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from api.graphql.documents import Document
from tests.graphql.differential.script import Plan, Scripted, scripted
from tests.graphql.differential.ways import Answer, Request, Ways

NO_FAULTS = Plan()


def both(
    ways: Ways,
    document: str | Document,
    plan: Plan = NO_FAULTS,
    variables: Mapping[str, Any] | None = None,
    name: str | None = None,
    *,
    context: Callable[[Plan], Scripted] = scripted,
) -> Answer:
    """Execute an operation by a plan both ways, each in a context of its own. Returns the answer.

    The bodies must be the same bytes: the same errors in the same order too. Fields that wait are released in the same
    order in both executions, so no error is earlier than another by chance.
    """
    request = Request(ways.prepare(document) if isinstance(document, str) else document, name, variables)
    random.seed(plan.seed)  # retryAfterMs is random
    expected = ways.theirs(request, context(plan))
    random.seed(plan.seed)
    actual = ways.ours(request, context(plan))
    what = f"{request.document.text}\n{variables} {name} {plan}"
    assert actual == expected, f"{what}\ngraphql-core: {expected.body!r}\nours:         {actual.body!r}"
    assert actual.shown == expected.shown, f"{what}\ngraphql-core: {expected.shown}\nours:         {actual.shown}"
    return actual

"""Compiled operations answer by themselves, and not graphql-core in their place: the comparison would prove nothing."""

import pytest
from graphql.execution import Executor

from api.storefront.pages import documents
from tests.graphql.differential.canned import in_a_shop
from tests.graphql.differential.script import Plan, scripted
from tests.graphql.differential.test_language import ARGUMENTS, CONDITIONS, NULLABLE_CONDITIONS, SELECTIONS
from tests.graphql.differential.ways import Request, Ways

DOCUMENTS = (*SELECTIONS, *CONDITIONS, *NULLABLE_CONDITIONS, *(text for text, _ in ARGUMENTS))


@pytest.fixture(autouse=True)
def without_graphql_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make graphql-core's own execution fail."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("graphql-core executes the operation")

    monkeypatch.setattr(Executor, "execute_operation", refuse)


def test_the_documents_of_the_language(synthetic: Ways) -> None:
    for text in DOCUMENTS:
        variables = {"a": True, "b": True, "yes": True, "nd": 1}
        answer = synthetic.ours(Request(synthetic.prepare(text), None, variables), scripted(Plan()))
        assert answer.body.startswith(b"{"), (text, answer.body)


def test_the_documents_of_the_storefront(real: Ways) -> None:
    for text in documents():
        if not text.startswith("subscription"):
            answer = real.ours(Request(real.prepare(text), None, {}), in_a_shop(Plan()))
            assert answer.body.startswith(b"{"), (text, answer.body)

"""Which fields run at the same time, what becomes of the others after an error, and what the end of a request ends."""

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from api.graphql.reference import PIECE
from tests.graphql.differential.comparison import both
from tests.graphql.differential.script import Does, How, Plan, Scripted, scripted
from tests.graphql.differential.ways import Answer, Request, Ways, without_references
from tests.patience import PATIENCE

ALL_WAIT = Plan(waits=1.0, length=2)

Execute = Callable[[Request, Scripted], Coroutine[Any, Any, bytes]]


def waiting_at_first(answer: Answer) -> set[str]:
    return set(answer.steps[0].waiting)


class TestTogether:
    def test_the_fields_of_a_query_wait_together(self, synthetic: Ways) -> None:
        answer = both(synthetic, "{ int string a: id item { int } numbers __typename }", ALL_WAIT)

        assert waiting_at_first(answer) == {"int", "string", "a", "item", "numbers"}

    def test_fields_in_several_objects_wait_together(self, synthetic: Ways) -> None:
        waits = {place: Does(how=How.WAITS) for place in ("item/int", "itemN/string", "itemN/item/id", "plain/more")}
        answer = both(synthetic, "{ item { int } itemN { string item { id } } plain { more { text } } }", Plan(waits))

        assert waiting_at_first(answer) == set(waits)

    @pytest.mark.parametrize("length", [1, 2, PIECE, PIECE + 3])
    def test_the_fields_of_all_items_wait_together(self, synthetic: Ways, length: int) -> None:
        waits = {f"items/{index}/int": Does(how=How.WAITS) for index in range(length)}
        answer = both(synthetic, "{ items { int string } }", Plan(waits, length=length))

        assert waiting_at_first(answer) == set(waits)

    def test_the_items_of_a_list_wait_together(self, synthetic: Ways) -> None:
        waits = {f"items/{index}": Does(how=How.WAITS) for index in range(PIECE)}
        answer = both(synthetic, "{ items { int } }", Plan(waits, seed=4, length=PIECE))

        assert waiting_at_first(answer) == set(waits)


class TestOneAfterTheOther:
    def test_the_fields_of_a_mutation_begin_one_after_the_other(self, synthetic: Ways) -> None:
        answer = both(synthetic, "mutation { int item { string id } a: int id }", ALL_WAIT)

        assert [set(step.waiting) for step in answer.steps][:2] == [{"int"}, {"item"}]
        assert {"item/string", "item/id"} in [set(step.waiting) for step in answer.steps]
        assert [step.released for step in answer.steps][-2:] == ["a", "id"]
        assert [place for place in answer.calls if "/" not in place] == ["int", "item", "a", "id"]

    @pytest.mark.parametrize("how", How)
    def test_a_failed_mutation_that_is_never_null_ends_the_others(self, synthetic: Ways, how: How) -> None:
        answer = both(synthetic, "mutation { int intN string }", Plan({"intN": Does("raises", how)}))

        assert answer.response["data"] is None
        assert answer.calls == ["int", "intN"]

    @pytest.mark.parametrize("how", How)
    def test_a_failed_mutation_that_can_be_null_does_not(self, synthetic: Ways, how: How) -> None:
        answer = both(synthetic, "mutation { a: int b: int string }", Plan({"a": Does("raises", how)}))

        assert answer.response["data"].keys() == {"a", "b", "string"}
        assert answer.calls == ["a", "b", "string"]


FAILING = [
    ("{ int string stringN }", "stringN"),
    ("{ item { int string stringN item { int } } id }", "item/stringN"),
    ("{ items { int } itemsNN { string intN } }", "itemsNN/1/intN"),
    ("{ itemsN { int stringN items { int } } id }", "itemsN/0/stringN"),
    ("{ item { itemN { item { id } stringN } int } }", "item/itemN/stringN"),
    ("mutation { item { int stringN id } int }", "item/stringN"),
]


class TestAfterAnError:
    @pytest.mark.parametrize(("text", "failing"), FAILING)
    @pytest.mark.parametrize("how", How)
    @pytest.mark.parametrize("length", [2, PIECE + 1])
    def test_no_coroutine_is_left_unawaited(
        self, synthetic: Ways, text: str, failing: str, how: How, length: int
    ) -> None:
        plan = Plan({failing: Does("raises", how)}, waits=0.7 if length <= PIECE else 0, coroutines=0.2, length=length)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for seed in range(4):
                both(synthetic, text, replace(plan, seed=seed))
            gc.collect()

        assert [str(warning.message) for warning in caught] == []

    @pytest.mark.parametrize("failing", ["stringN", "item/stringN", "item/item/stringN"])
    def test_a_field_that_is_cancelled_before_it_begins_leaves_no_coroutine(
        self, synthetic: Ways, failing: str
    ) -> None:
        """Every value is late, so each level of the response begins its tasks while the field beside it fails."""
        text = "{ stringN item { stringN item { stringN item { %s int } int } int } int }"
        nested = "item { item { item { int string } int } int }"
        plan = Plan({failing: Does("raises", How.COROUTINE)}, coroutines=1.0, length=2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            both(synthetic, text % nested, plan)
            gc.collect()

        assert [str(warning.message) for warning in caught] == []

    @pytest.mark.parametrize(("text", "failing"), FAILING[:2])
    def test_the_fields_beside_a_late_failure_are_cancelled(self, synthetic: Ways, text: str, failing: str) -> None:
        """They must have ended when the response is sent: after it, nobody waits for them."""
        others = {failing.replace("stringN", name): Does(how=How.WAITS) for name in ("int", "string")}
        for seed in range(8):
            plan = Plan({failing: Does("raises", How.WAITS), **others}, seed=seed)
            assert both(synthetic, text, plan).left == frozenset()


@pytest.fixture(params=["ours", "theirs"])
def execute(request: pytest.FixtureRequest, synthetic: Ways) -> Execute:
    return synthetic.execute if request.param == "ours" else synthetic.execute_by_graphql_core


class TestTheEndOfARequest:
    @pytest.mark.parametrize(
        "text",
        [
            "{ int }",
            "{ int string item { id } }",
            "{ items { int string } }",
            "{ node { id } either { __typename } }",
            "mutation { int string }",
        ],
    )
    def test_a_cancelled_execution_cancels_its_fields(self, synthetic: Ways, execute: Execute, text: str) -> None:
        context = scripted(ALL_WAIT)

        async def cancel() -> None:
            others = asyncio.all_tasks()
            running = asyncio.ensure_future(execute(Request(synthetic.prepare(text)), context))
            async with asyncio.timeout(PATIENCE):
                while not context.waiters.places:
                    await asyncio.sleep(0)
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
                while asyncio.all_tasks() != others:
                    await asyncio.sleep(0)
            assert context.waiters.places == frozenset()

        synthetic.run(cancel())

    def test_executions_of_one_document_at_the_same_time_do_not_mix(self, synthetic: Ways) -> None:
        text = (
            "query ($yes: Boolean!, $n: Int) { echo(int: $n) items @include(if: $yes) { int string } "
            "item { node { id ... on Item { string @skip(if: $yes) } } } }"
        )
        document = synthetic.prepare(text)
        requests = [Request(document, None, {"yes": number % 2 == 0, "n": number}) for number in range(6)]
        plans = [Plan(seed=number, waits=0.6, faults=0.1) for number in range(6)]
        alone = [synthetic.theirs(*each).body for each in zip(requests, map(scripted, plans), strict=True)]
        contexts = [scripted(plan) for plan in plans]

        together = synthetic.run(all_at_once(synthetic, requests, contexts))

        assert together == alone


async def all_at_once(ways: Ways, requests: list[Request], contexts: list[Scripted]) -> list[bytes]:
    """Execute several operations, and release a field of each in turn."""
    running = [
        asyncio.ensure_future(ways.execute(request, context))
        for request, context in zip(requests, contexts, strict=True)
    ]
    async with asyncio.timeout(PATIENCE):
        while not all(each.done() for each in running):
            for context in contexts:
                for _ in range(30):  # rounds that the consequences of a release take, at least
                    await asyncio.sleep(0)
                if places := context.waiters.places:
                    context.waiters.release(min(places, key=lambda place: context.plan.number(place, "release")))
    return [without_references(each.result()) for each in running]

"""Sends a server the operations that schemathesis makes from its schema. tests/test_schemathesis.py starts it.

schemathesis and hypothesis draw from the constants of every loaded module, and iterate over sets. So the same seed
makes the same operations only in a process of its own that has PYTHONHASHSEED set.

Reads one JSON object from stdin: `url`, `headers`, `seed`, `examples` (of each root field and mode), `timeout` in
seconds, and `values`, the known values of arguments by the arguments' names. Prints one JSON list per operation: its
root field, the HTTP status, the codes of its errors, and the document.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import graphql
import hypothesis
import requests
import schemathesis
from schemathesis.core.result import Ok

KNOWN = 0.95
"""Share of the arguments that get a known value. An operation with random ids and names is nearly always refused."""


def main() -> None:
    wanted = json.load(sys.stdin)
    schema = schemathesis.graphql.from_url(wanted["url"], config=configuration(wanted["values"]))
    with requests.Session() as session:
        for operation in [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]:
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
                strategy = operation.as_strategy(generation_mode=mode)
                if mode is schemathesis.GenerationMode.POSITIVE:
                    strategy = strategy.map(Correction(wanted["values"]["id"]))
                send_all(strategy, session, wanted["seed"], wanted["examples"], wanted["headers"], wanted["timeout"])


def configuration(values: Mapping[str, Sequence[str | int]]) -> schemathesis.Config:
    """Give arguments, and fields of the argument `input`, a known value of their name most of the time. A name with a
    dot is an argument of one field alone."""
    places = {
        place: name
        for name in values
        for place in ([f"*.{name}"] if "." in name else [f"*.*.{name}", f"*.*.input.{name}"])
    }
    return schemathesis.Config.from_dict(
        {
            "dictionaries": {name.replace(".", "-"): {"values": known} for name, known in values.items()},
            "parameters": {
                place: {"dictionary": name.replace(".", "-"), "probability": KNOWN} for place, name in places.items()
            },
        }
    )


class Correction(graphql.Visitor):
    """Replaces what schemathesis cannot learn, in an operation that should work. Lists of ids get the known ids. A
    field with both ends of a list keeps one of them, since both at a time are refused."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__()
        self._ids = graphql.ListValueNode(values=tuple(graphql.StringValueNode(value=known) for known in ids))
        self._left_out = ("last", "before")

    def __call__(self, case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
        document = str(case.body)
        self._left_out = ("last", "before") if len(document) % 2 else ("first", "after")
        case.body = graphql.print_ast(graphql.visit(graphql.parse(document), self))
        return case

    def enter_field(self, field: graphql.FieldNode, *_: Any) -> graphql.FieldNode:
        given = {argument.name.value: argument for argument in field.arguments or ()}
        if "ids" in given:
            given["ids"] = graphql.ArgumentNode(name=given["ids"].name, value=self._ids)
        if {"first", "last"} <= given.keys():
            for name in self._left_out:
                given.pop(name, None)
        return replace(field, arguments=tuple(given.values()))


def send_all(
    strategy: Any, session: requests.Session, seed: int, examples: int, headers: dict[str, str], timeout: float
) -> None:
    """Send `examples` operations that the strategy makes, and print each with its answer."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def send(case: schemathesis.Case[Any]) -> None:
        response = case.call(session=session, headers=headers, timeout=timeout)
        try:
            codes = [error["extensions"]["code"] for error in response.json().get("errors", [])]
        except ValueError:
            codes = ["not JSON"]
        print(json.dumps([case.operation.label, response.status_code, codes, case.body]))  # noqa: T201

    send()


if __name__ == "__main__":
    main()

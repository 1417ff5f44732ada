"""Sends a server the operations that schemathesis makes from its schema. tests/test_schemathesis.py starts it.

schemathesis and hypothesis draw from the constants of every loaded module, and iterate over sets. So the same seed
makes the same operations only in a process of its own that has PYTHONHASHSEED set.

Reads one JSON object from stdin: `url`, `headers`, `seed`, `examples` (of each mode), `timeout` in seconds, and
`values`, the known values of arguments by the arguments' names. Prints one JSON list per operation: its root field, the
HTTP status, the codes of its errors, and the document.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import hypothesis
import requests
import schemathesis

KNOWN = 0.95
"""Share of the arguments that get a known value. An operation with random ids and names is nearly always refused."""


def main() -> None:
    wanted = json.load(sys.stdin)
    schema = schemathesis.graphql.from_url(wanted["url"], config=configuration(wanted["values"]))
    with requests.Session() as session:
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            strategy = schema.as_strategy(generation_mode=mode)
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

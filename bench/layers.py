"""The layers that a request passes in the server, and the layer of each sample of its stack."""

import linecache
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

_FRAME = re.compile(r"(?P<function>.+) \((?P<file>[^()]+?)(?::(?P<line>\d+))?\)")

_LOOP = "Runner.run ("
"""A frame of the thread that runs the event loop. Samples of other threads do not count."""


@dataclass(frozen=True)
class Rule:
    """Says that frames belong to a layer: those whose file, function and line of source match its three patterns."""

    layer: str
    file: str
    function: str = ""
    source: str = ""

    def matches(self, function: str, file: str, source: str) -> bool:
        return all(
            re.search(pattern, text)
            for pattern, text in ((self.file, file), (self.function, function), (self.source, source))
        )


RULES = (
    Rule("garbage collector", "", r"^gc_collect"),
    Rule("encode", r"api/graphql/", source=r"orjson\.dumps"),
    Rule("parse HTTP", r"api/http_protocol\.py", source=r"feed_data"),
    Rule("parse HTTP", r"httptools/"),
    Rule("send", r"api/graphql/http\.py", r"^_send$"),
    Rule("send", r"uvicorn/protocols/http/", r"\bsend$"),
    Rule(
        "protocol", r"uvicorn/protocols/|api/(http_protocol|inlet|slow_clients|flow_control|request_head|refusal)\.py"
    ),
    Rule("gate", r"api/identity/(gate|fair_queue|turns|quota)\.py|api/answering\.py", r"^(?!RefusedRequests)"),
    Rule("identify", r"api/identity/"),
    Rule("middleware, routes", r"starlette/|api/(hosts|cross_origin|oidc_header|answering)\.py"),
    Rule("read the request", r"api/graphql/(requests|headers|negotiation|http|departure|graphiql)\.py"),
    Rule("prepare", r"api/graphql/(documents|document_limits|validation|cost|engine)\.py"),
    Rule("asyncpg", r"asyncpg/"),
    Rule("drops, database", r"api/(drops|database)/"),
    Rule("execute", r"api/graphql/(execution|reference|response|compiled/\w+)\.py|site-packages/(graphql|strawberry)/"),
    Rule("resolve", r"api/graphql/"),
)
"""Tried in this order on a frame. The innermost frame with a layer decides the layer of the sample."""

REST = "event loop"
"""The layer of samples without any other: the loop itself, its reads and its waiting."""

LAYERS = (*dict.fromkeys(rule.layer for rule in RULES), REST)


def shares(stacks: Iterable[str]) -> dict[str, float]:
    """The share of each layer in lines of py-spy's raw format: `frame;frame;frame samples`, the innermost frame
    last."""
    counts: Counter[str] = Counter()
    for stack in stacks:
        frames, _, samples = stack.rpartition(" ")
        if _LOOP in frames:
            counts[layer_of(frames.split(";"))] += int(samples)
    total = max(1, counts.total())
    return {layer: counts[layer] / total for layer in LAYERS}


def layer_of(frames: Sequence[str]) -> str:
    """The layer of a stack, whose innermost frame is last."""
    return next((layer for frame in reversed(frames) if (layer := _layer_of(frame)) is not None), REST)


@cache
def _layer_of(frame: str) -> str | None:
    parts = _FRAME.fullmatch(frame)
    if parts is None:
        return None
    source = linecache.getline(parts["file"], int(parts["line"])) if parts["line"] else ""
    return next((rule.layer for rule in RULES if rule.matches(parts["function"], parts["file"], source)), None)

"""Defines an attack: the bytes that each of its connections sends, and how it sends them."""

import base64
import os
import random
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import orjson

from api.identity.guests import SUBJECT_PREFIX
from bench.abuse.guests import token_of

ATTACKER = f"{SUBJECT_PREFIX}attacker-"
"""The prefix of every buyer that attacks. The books of the honest buyers exclude these buyers."""

Messages = Generator[bytes, bytes, None]
"""The messages of one connection: a generator that yields a message and receives the answer to it."""

JSON_TYPE = "Content-Type: application/json\r\n"


class Manner(Enum):
    """How a connection sends its messages."""

    REQUESTS = "a request, its answer, the next request"
    PIPELINE = "100 requests without an answer at a time; the answers are read"
    FLOOD = "as fast as the connection takes bytes; answers are read"
    UNREAD = "as fast as the connection takes bytes; answers are never read"
    FRAMES = "after a websocket's handshake, as fast as the connection takes bytes"
    OPERATIONS = "operations over a websocket, so many at a time; each ends with its answer"
    CHURN = "subscriptions over a websocket, so many at a time; each is completed after its first event"
    SUBSCRIPTIONS = "subscriptions over a websocket, that stay; the attack begins when each has its first event"
    IDLE = "websockets that stay and send nothing; the attack begins when all are open"
    CONNECTIONS = "a connection, one message, its answer, the next connection"
    HANGING = "one message on each connection, which then stays; a connection that ends is followed by the next"


class Seeds(Enum):
    """Rows that an attack needs in the database before it begins."""

    NONE = "nothing"
    ORDERS = "100 orders of one buyer, each of another product"
    CANCELLED = "10 buyers with 20,000 cancelled orders each of the product on sale, which has a limit"


@dataclass(frozen=True)
class Target:
    """The server under attack and its products: the product that honest buyers buy, a product that is sold out, and 100
    more. `guests`: whether its buyers are guests with tokens. Its methods make the messages."""

    host: str
    port: int
    product_id: str
    sold_out_id: str
    other_ids: tuple[str, ...]
    guests: bool

    def request(self, line: str, headers: str = "", body: bytes = b"") -> bytes:
        """A request with a body of known length, or without a body."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        return f"{line} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{headers}{length}\r\n".encode() + body

    def get(self, path: str, headers: str = "") -> bytes:
        return self.request(f"GET {path}", headers)

    def post(self, query: str, variables: dict[str, Any] | None = None, headers: str = "") -> bytes:
        """A GraphQL request."""
        return self.request("POST /graphql", JSON_TYPE + headers, payload(query, variables))

    def authorization(self, buyer: str) -> str:
        """The header of a buyer; empty where buyers have no tokens."""
        return f"Authorization: Bearer {token_of(buyer)}\r\n" if self.guests else ""

    def handshake(self, headers: str = "") -> bytes:
        """A websocket's handshake."""
        key = base64.b64encode(os.urandom(16)).decode()
        return self.get(
            "/graphql",
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: graphql-transport-ws\r\n{headers}",
        )


@dataclass(frozen=True)
class Attack:
    """A row of the table. `messages` makes the messages of one connection, or of one of the `in_flight` operations of a
    websocket, whose handshake has the token of `buyer`. `count` is the number of messages in each piece of a flood.
    Attacks that are not `usual` run only when they are named."""

    name: str
    sends: str
    messages: Callable[[Target], Messages]
    connections: int = 1
    manner: Manner = Manner.REQUESTS
    in_flight: int = 1
    count: int = 1
    buyer: str = ""
    seeds: Seeds = Seeds.NONE
    usual: bool = False


@dataclass
class Tally:
    """What an attacker sent, and the answers it got. `cpu` is its CPU time in seconds."""

    sent: int = 0
    sent_bytes: int = 0
    connections: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    cpu: float = 0.0


def unique() -> int:
    """A number that no other message has."""
    return random.getrandbits(60)


def payload(query: str, variables: dict[str, Any] | None = None) -> bytes:
    """The JSON of an operation, as a request's body or a subscribe message's payload."""
    return orjson.dumps({"query": query} if variables is None else {"query": query, "variables": variables})


def frame(opcode: int, data: bytes = b"", *, final: bool = True) -> bytes:
    """A client's websocket frame. It is masked with zeros, which is a valid mask."""
    first = opcode | (0x80 if final else 0)
    size = len(data)
    if size < 126:
        return bytes((first, 0x80 | size)) + bytes(4) + data
    if size < 65536:
        return bytes((first, 0xFE)) + size.to_bytes(2, "big") + bytes(4) + data
    return bytes((first, 0xFF)) + size.to_bytes(8, "big") + bytes(4) + data

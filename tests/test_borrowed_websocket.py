"""What uvicorn's websocket does with the parts of it that we replace, read from its source."""

import ast
import inspect

import pytest
import uvicorn.protocols.websockets.websockets_sansio_impl as lender

from api.waiting import Inbox, Room
from api.websocket_protocol import BoundedWebSocket

ATTRIBUTES = [node for node in ast.walk(ast.parse(inspect.getsource(lender))) if isinstance(node, ast.Attribute)]


@pytest.mark.parametrize(("name", "ours"), [("queue", Inbox), ("writable", Room)])
def test_uvicorn_calls_only_methods_that_our_class_has(name: str, ours: type) -> None:
    called = {node.attr for node in ATTRIBUTES if ast.unparse(node.value) == f"self.{name}"}
    assert called, f"api/waiting.py: find what uvicorn has instead of self.{name}, and replace it with {ours.__name__}"
    assert called <= set(dir(ours)), f"api/waiting.py: write {called - set(dir(ours))} for {ours.__name__}"


def test_every_attribute_of_uvicorns_websocket_has_a_slot() -> None:
    kept = {node.attr for node in ATTRIBUTES if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"}
    missing = kept - set(BoundedWebSocket.__slots__)
    assert not missing, f"api/websocket_protocol.py: add {missing} to __slots__; a dictionary takes much more memory"

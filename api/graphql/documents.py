"""Documents: each is parsed and validated once, and kept for the next request that sends the same text."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    print_ast,
)

from api.graphql.compiled.operation import CompiledOperation
from api.graphql.cost import MAX_COST, Cost, Costs
from api.graphql.document_limits import fields_of
from api.graphql.errors import ErrorCode
from api.graphql.persisted import DocumentId, PersistedDocuments
from api.graphql.public import PublicFields
from api.graphql.validation import InvalidDocument, parse_and_validate, require_length
from api.identity.errors import RateLimited
from api.identity.turns import Turns

KEPT_DOCUMENTS = 1_000
KEPT_LENGTH = 8_000
"""Characters of a kept document. Longer documents are executed but not kept."""

KEPT_CHARACTERS = 100_000
"""Characters of all kept documents together. A parsed document takes about 100 bytes per character of its text."""

PATIENCE = 10.0
"""Seconds that a request waits for its document to be prepared, at most; longer where it may wait longer for a turn."""

WAKING = 0.0001
"""Seconds between two requests that go on when the document that they wait for has been prepared. When a drop opens,
thousands wait for the same document. Each of them takes some 0.05 ms then, and the event loop must not stop for all."""


UNTRUSTED = "This server executes the documents that it knows, and no other."
"""The message to a stranger who sends another document, on a server with trusted documents."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a document, and its cost at most. `introspects` is True when it reads nothing but the schema.
    `public` is True for any other query or subscription whose responses are the same for every caller."""

    type: OperationType
    cost: Cost
    introspects: bool
    public: bool
    compiled: CompiledOperation


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A valid document. Where it has a subscription, `text` is the same for documents that differ only in blanks and
    comments."""

    text: str
    syntax_tree: DocumentNode
    operations: Mapping[str | None, Operation]
    """The operations by name. The operation that runs without a name is under None, if there is one."""

    def operation(self, name: str | None, variables: Mapping[str, Any] | None, *, bounded: bool) -> Operation | None:
        """The operation that would run. None when no operation has the name: the execution then explains that. Raises
        InvalidDocument when the operation is `bounded` and would cost more than MAX_COST."""
        operation = self.operations.get(name)
        if operation is not None and bounded and not operation.introspects:
            cost = operation.cost.of(variables or {})
            if cost > MAX_COST:
                message = (
                    f"The operation asks for up to {cost} fields, rows times fields; {MAX_COST} are allowed. "
                    "Ask for fewer rows, or fewer fields of each."
                )
                raise InvalidDocument(ErrorCode.BAD_USER_INPUT, [GraphQLError(message)])
        return operation


@dataclass(frozen=True, slots=True)
class _Kept:
    """The document of a text, or its refusal, and the client that sent the text first."""

    result: Document | InvalidDocument
    client: str


@dataclass(slots=True, eq=False)
class _Preparation:
    """The preparation of a text, for all requests that wait for it. Each takes turns, and the request whose turn it is
    makes the next steps: a request alone could have to wait long, for the client that it comes from."""

    steps: Generator[None, None, Document]
    limits: set[asyncio.Timeout] = field(default_factory=set)
    """The time limits of the requests that wait."""
    result: Document | InvalidDocument | None = None

    def go_on(self, end: float) -> None:
        """Make steps, one at least, until the end of a turn."""
        try:
            next(self.steps)
            while perf_counter() < end:
                next(self.steps)
        except StopIteration as done:
            self.result = done.value
        except InvalidDocument as refusal:
            self.result = InvalidDocument(refusal.code, [_without_references(error) for error in refusal.errors])

    def wake(self) -> None:
        """Let the requests go on that wait for a turn, one after the other."""
        now = asyncio.get_running_loop().time()
        for index, limit in enumerate(self.limits):
            limit.reschedule(now + index * WAKING)


class Documents:
    """The documents of one schema. The most recently used documents of each client are kept ready to execute. Refusals
    are kept as well: clients repeat the same mistake."""

    def __init__(
        self,
        schema: GraphQLSchema,
        turns: Turns,
        own: Sequence[str] = (),
        trusted: Mapping[str, str] | None = None,
    ) -> None:
        """`own`: the texts that our own pages send. They are prepared now and never dropped. `trusted`: the only other
        texts that strangers may send, by their ids; None allows every text. Raises InvalidDocument when a text of these
        is not a valid document."""
        self._schema = schema
        self._turns = turns
        self._kept: dict[str, _Kept] = {}
        self._texts: dict[str, OrderedDict[str, None]] = {}
        """The kept texts of each client, the one used most recently last."""
        self._characters: Counter[str] = Counter()
        self._preparations: dict[str, _Preparation] = {}
        self._open = trusted is None
        self._known = {text: _own_document(schema, text) for text in own}
        self._known |= {text: self.prepare(text) for text in (trusted or {}).values()}
        self._persisted = PersistedDocuments(own, trusted)

    @property
    def bounds_cost(self) -> bool:
        """Whether the operations of strangers are bounded by their cost. Trusted documents need no such bound."""
        return self._open

    def text_of(self, query: str | None, named: DocumentId | None) -> str:
        """The text of a request's document; see PersistedDocuments. Raises InvalidDocument."""
        return self._persisted.text_of(query, named)

    async def get(self, text: str, client: str, *, trusted_only: bool) -> Document:
        """The valid document of this text. `trusted_only`: the caller may send trusted documents only, if the server
        has any. Raises InvalidDocument, and RateLimited when the document was not prepared within PATIENCE."""
        known = self._known.get(text)
        if known is not None:
            return known
        if trusted_only and not self._open:
            raise InvalidDocument(ErrorCode.FORBIDDEN, [GraphQLError(UNTRUSTED)])
        document = self._find(text)
        if document is not None:
            return document
        require_length(text)
        return await self._prepare_with_others(text, client)

    def prepare(self, text: str) -> Document:
        """The valid document of this text, prepared without turns: for a server that does not serve yet. Raises
        InvalidDocument."""
        return _prepared(self._schema, text)

    async def _prepare_with_others(self, text: str, client: str) -> Document:
        """Prepare a text, together with the other requests that wait for it. Raises InvalidDocument, RateLimited."""
        preparation = self._preparations.get(text)
        if preparation is None:
            preparation = self._preparations[text] = _Preparation(_prepare(self._schema, text))
        limit = asyncio.timeout(max(PATIENCE, self._turns.patience or PATIENCE))
        try:
            async with limit:
                preparation.limits.add(limit)
                await self._prepare_in_turns(text, client, preparation)
        except TimeoutError:
            if preparation.result is None:
                message = "this server is overloaded, and your document was not prepared; try again later"
                raise RateLimited(message, PATIENCE) from None
        finally:
            preparation.limits.discard(limit)
            if not preparation.limits and self._preparations.get(text) is preparation:
                del self._preparations[text]
        if isinstance(preparation.result, Document):
            return preparation.result
        assert preparation.result is not None, "the preparation has ended"
        raise InvalidDocument(preparation.result.code, preparation.result.errors)

    async def _prepare_in_turns(self, text: str, client: str, preparation: _Preparation) -> None:
        """Return when the preparation has ended."""
        begun = False
        while preparation.result is None:
            async with self._turns.turn(client, begun=begun) as end:
                begun = True
                if preparation.result is None:
                    preparation.go_on(end)
                    if preparation.result is not None:
                        self._keep(text, preparation.result, client)
                        preparation.wake()

    def _find(self, text: str) -> Document | None:
        """The document, if it is kept. Raises InvalidDocument when its refusal is kept."""
        kept = self._kept.get(text)
        if kept is None:
            return None
        self._texts[kept.client].move_to_end(text)
        if isinstance(kept.result, InvalidDocument):
            raise InvalidDocument(kept.result.code, kept.result.errors)
        return kept.result

    def _keep(self, text: str, result: Document | InvalidDocument, client: str) -> None:
        if len(text) > KEPT_LENGTH or text in self._kept:
            return
        self._kept[text] = _Kept(result, client)
        self._texts.setdefault(client, OrderedDict())[text] = None
        self._characters[client] += len(text)
        while len(self._kept) > KEPT_DOCUMENTS or self._characters.total() > KEPT_CHARACTERS:
            self._drop_one()

    def _drop_one(self) -> None:
        """Drop the least recently used document of the client whose kept documents have most characters."""
        client = max(self._characters, key=self._characters.__getitem__)
        dropped, _ = self._texts[client].popitem(last=False)
        del self._kept[dropped]
        self._characters[client] -= len(dropped)
        if not self._texts[client]:
            del self._texts[client], self._characters[client]


@lru_cache(maxsize=64)
def _own_document(schema: GraphQLSchema, text: str) -> Document:
    """The document of a text that our own pages send: prepared once for all applications of a process, of which the
    tests make a thousand. Raises InvalidDocument."""
    return _prepared(schema, text)


def _prepared(schema: GraphQLSchema, text: str) -> Document:
    """The document of a text, prepared at once. Raises InvalidDocument."""
    steps = _prepare(schema, text)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            document: Document = end.value
            return document


def _prepare(schema: GraphQLSchema, text: str) -> Generator[None, None, Document]:
    """Parse, measure and validate a text, step by step. Returns the document. Raises InvalidDocument."""
    syntax_tree = yield from parse_and_validate(schema, text)
    operations = yield from _operations(schema, _public_fields(schema), syntax_tree)
    subscribes = any(operation.type is OperationType.SUBSCRIPTION for operation in operations.values())
    return Document(print_ast(syntax_tree) if subscribes else text, syntax_tree, operations)


@lru_cache(maxsize=8)
def _public_fields(schema: GraphQLSchema) -> PublicFields:
    return PublicFields(schema)


def _without_references(error: GraphQLError) -> GraphQLError:
    """A copy without references to the whole syntax tree and, through its traceback, to the frames."""
    return GraphQLError(error.message, source=error.source, positions=error.positions)


def _operations(
    schema: GraphQLSchema, public_fields: PublicFields, syntax_tree: DocumentNode
) -> Generator[None, None, dict[str | None, Operation]]:
    """The operations of a valid document by name, with a step for each. A single operation is under None as well: it
    needs no name."""
    fragments = {
        definition.name.value: definition
        for definition in syntax_tree.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    costs = Costs(schema, fragments)
    operations: dict[str | None, Operation] = {}
    for definition in syntax_tree.definitions:
        if isinstance(definition, OperationDefinitionNode):
            name = None if definition.name is None else definition.name.value
            fields = fields_of([definition.selection_set], fragments)
            introspects = all(field.name.value.startswith("__") for field in fields)
            reads = definition.operation is not OperationType.MUTATION and not introspects
            public = reads and public_fields.cover(definition, fragments)
            compiled = CompiledOperation(schema, definition, fragments)
            operations[name] = Operation(definition.operation, costs.of(definition), introspects, public, compiled)
            yield
    if len(operations) == 1:
        [operations[None]] = list(operations.values())
    return operations

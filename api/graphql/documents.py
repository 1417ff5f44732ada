"""Documents: parsed and validated once, in turns with everything else, kept for the next request, and refused when they
ask for too much."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    OverlappingFieldsCanBeMergedRule,
    TypeInfo,
    TypeInfoVisitor,
    ValidationContext,
    Visitor,
    print_ast,
    specified_rules,
    visit,
)
from graphql.language import Lexer, ParallelVisitor, Source, Token
from graphql.language.parser import Parser
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from api.graphql.cost import MAX_COST, Cost, Costs
from api.graphql.extents import exceeded_limits, fields_of
from api.identity.errors import RateLimited
from api.identity.turns import Turns

MAX_LENGTH = 20_000
"""Characters in a document, comments and all: the lexer takes a quarter of a microsecond for each."""

MAX_TOKENS = 400
"""Tokens in a document. Introspection has 191, and a purchase with all its outcomes 69. Parsing so many takes 2.5 ms
(measured on 2 shared cores), which nothing can divide."""

MAX_ERRORS = 5
"""Errors in the answer to one document. Describing an error costs more than finding it: up to 0.6 ms where its message
repeats what was sent."""

KEPT_DOCUMENTS = 1_000
KEPT_LENGTH = 8_000
"""Characters. Longer documents are served but not kept."""

KEPT_CHARACTERS = 100_000
"""Characters of all kept documents together. A parsed document takes about 100 bytes per character of its text."""

RULES_AT_ONCE = 5
"""Rules that one pass over a document checks. All of them at once take 10 ms with MAX_TOKENS, and such a pass 3 ms at
most (measured on 2 shared cores)."""

PATIENCE = 10.0
"""Seconds that a request waits for its document to be prepared at most."""

_RULES = [*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule]
_RULES.remove(OverlappingFieldsCanBeMergedRule)
_PASSES: tuple[Sequence[type[ASTValidationRule]], ...] = (
    *(_RULES[start : start + RULES_AT_ONCE] for start in range(0, len(_RULES), RULES_AT_ONCE)),
    # Only of a document without errors: where a fragment spreads itself, its fields have not been counted.
    [OverlappingFieldsCanBeMergedRule],
)


class InvalidDocument(Exception):
    """The document cannot be parsed, is not valid, or asks for too much; `errors` say why."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = list(errors)


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a document, and what it costs at most. `introspects`: it reads nothing but the schema."""

    type: OperationType
    cost: Cost
    introspects: bool


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A valid document. `text` is the same for documents that differ in blanks and comments only."""

    text: str
    syntax_tree: DocumentNode
    operations: Mapping[str | None, Operation]
    """By name, and under None the one that runs when no name is given, if there is one."""

    def operation(self, name: str | None, variables: Mapping[str, Any] | None, *, bounded: bool) -> Operation | None:
        """The operation that would run; None when the name fits none, which the execution then explains. Raises
        InvalidDocument when it is `bounded` and would cost more than MAX_COST."""
        operation = self.operations.get(name)
        if operation is not None and bounded and not operation.introspects:
            cost = operation.cost.of(variables or {})
            if cost > MAX_COST:
                message = (
                    f"The operation asks for up to {cost} fields, rows times fields; {MAX_COST} are allowed. "
                    "Ask for fewer rows, or fewer fields of each."
                )
                raise InvalidDocument([GraphQLError(message)])
        return operation


@dataclass(frozen=True, slots=True)
class _Kept:
    """What became of a text, and the client that sent it first."""

    result: Document | InvalidDocument
    client: str


class Documents:
    """The documents of one schema. Those of each client that were used most recently are kept ready to execute, and the
    refused ones are kept as well: the same mistake comes again and again."""

    def __init__(self, schema: GraphQLSchema, turns: Turns, trusted: Iterable[str] | None = None) -> None:
        """`trusted`: the only texts that strangers may send; None for all. Raises InvalidDocument when one of them is
        none."""
        self._schema = schema
        self._turns = turns
        self._kept: dict[str, _Kept] = {}
        self._texts: dict[str, OrderedDict[str, None]] = {}
        """The kept texts of each client, the one used most recently last."""
        self._characters: Counter[str] = Counter()
        self._trusted = None if trusted is None else {text: self.prepare(text) for text in trusted}

    @property
    def bounds_cost(self) -> bool:
        """Whether the operations of strangers are bounded by their cost: those of trusted documents need not be."""
        return self._trusted is None

    async def get(self, text: str, client: str, *, trusted_only: bool) -> Document:
        """The valid document that the text spells. `trusted_only`: of a caller who is held to the trusted documents,
        if the server has them. Raises InvalidDocument; and RateLimited when no turn came to prepare it."""
        if trusted_only and self._trusted is not None:
            document = self._trusted.get(text)
            if document is None:
                raise InvalidDocument([GraphQLError("This server executes the documents that it knows, and no other.")])
            return document
        document = self._find(text)
        if document is not None:
            return document
        _require_length(text)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._prepare_in_turns(text, client)
        except TimeoutError:
            message = "this server has more to do than it can, and your document was not prepared; try again later"
            raise RateLimited(message, PATIENCE) from None

    def prepare(self, text: str) -> Document:
        """The valid document that the text spells, in one piece: for a server that does not serve yet. Raises
        InvalidDocument."""
        steps = self._prepare(text)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                document: Document = end.value
                return document

    async def _prepare_in_turns(self, text: str, client: str) -> Document:
        steps = self._prepare(text)
        begun = False
        while True:
            async with self._turns.turn(client, begun=begun) as end:
                begun = True
                found = self._find(text)  # another request has prepared it meanwhile
                if found is not None:
                    return found
                try:
                    next(steps)
                    while perf_counter() < end:
                        next(steps)
                except StopIteration as done:
                    self._keep(text, done.value, client)
                    document: Document = done.value
                    return document
                except InvalidDocument as refusal:
                    self._keep(text, refusal, client)
                    raise

    def _find(self, text: str) -> Document | None:
        """The document if it is kept. Raises InvalidDocument when its refusal is."""
        kept = self._kept.get(text)
        if kept is None:
            return None
        self._texts[kept.client].move_to_end(text)
        if isinstance(kept.result, InvalidDocument):
            raise InvalidDocument(kept.result.errors)
        return kept.result

    def _keep(self, text: str, result: Document | InvalidDocument, client: str) -> None:
        if len(text) > KEPT_LENGTH or text in self._kept:
            return
        if isinstance(result, InvalidDocument):
            # Without what it refers to: the whole syntax tree, and by its traceback all that was at work.
            result = InvalidDocument(
                [GraphQLError(error.message, source=error.source, positions=error.positions) for error in result.errors]
            )
        self._kept[text] = _Kept(result, client)
        self._texts.setdefault(client, OrderedDict())[text] = None
        self._characters[client] += len(text)
        while len(self._kept) > KEPT_DOCUMENTS or self._characters.total() > KEPT_CHARACTERS:
            self._drop_one()

    def _drop_one(self) -> None:
        """Drop the least recently used document of the client that takes most of the room."""
        client = max(self._characters, key=self._characters.__getitem__)
        dropped, _ = self._texts[client].popitem(last=False)
        del self._kept[dropped]
        self._characters[client] -= len(dropped)
        if not self._texts[client]:
            del self._texts[client], self._characters[client]

    def _prepare(self, text: str) -> Generator[None, None, Document]:
        """Parse, measure and validate a text, step by step. Raises InvalidDocument."""
        _require_length(text)
        try:
            syntax_tree = _parse(text)
            yield
            errors = exceeded_limits(syntax_tree, MAX_ERRORS)
            if not errors:
                errors = yield from _validate(self._schema, syntax_tree)
        except GraphQLSyntaxError as error:
            errors = [error.with_traceback(None)]  # it refers to this frame, which would refer to it
        except RecursionError:
            errors = [GraphQLError("The document is nested too deeply.")]
        if errors:
            raise InvalidDocument(errors)
        operations = _operations(self._schema, syntax_tree)
        yield
        subscribes = any(operation.type is OperationType.SUBSCRIPTION for operation in operations.values())
        return Document(print_ast(syntax_tree) if subscribes else text, syntax_tree, operations)


def _require_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        message = f"The document has {len(text)} characters; {MAX_LENGTH} are allowed. Send values as variables."
        raise InvalidDocument([GraphQLError(message)])


def _parse(text: str) -> DocumentNode:
    """Parse a text. Raises GraphQLSyntaxError, RecursionError.

    The tokens of graphql-core refer to each other in both directions. They are parted here, so that a document is freed
    when it is dropped: a flood of documents would make the garbage collector stop everything else.
    """
    lexer = Lexer(Source(text))
    first = lexer.token
    try:
        return Parser(lexer.source, lexer=lexer, max_lexical_tokens=MAX_TOKENS).parse_document()
    finally:
        token: Token | None = first
        while token is not None:
            following, token.next, token.prev = token.next, None, None
            token = following


class _TooManyErrors(Exception):
    """MAX_ERRORS errors have been found."""


def _validate(schema: GraphQLSchema, syntax_tree: DocumentNode) -> Generator[None, None, list[GraphQLError]]:
    """What graphql-core's `validate` does, pass by pass, so that none of its steps takes long."""
    errors: list[GraphQLError] = []

    def add(error: GraphQLError) -> None:
        if len(errors) >= MAX_ERRORS:
            errors.append(GraphQLError("Too many validation errors, error limit reached. Validation aborted."))
            raise _TooManyErrors
        errors.append(error)

    type_info = TypeInfo(schema)
    context = ValidationContext(schema, syntax_tree, type_info, add)
    for rules in _PASSES:
        if errors and OverlappingFieldsCanBeMergedRule in rules:
            break
        _visit(syntax_tree, type_info, [rule(context) for rule in rules])
        if len(errors) > MAX_ERRORS:
            break
        yield
    return errors


def _visit(syntax_tree: DocumentNode, type_info: TypeInfo, visitors: Sequence[Visitor]) -> None:
    """Let all visitors see all of a document, until one has found too many errors."""
    together = ParallelVisitor(visitors)
    typed = TypeInfoVisitor(type_info, together)
    with suppress(_TooManyErrors):
        visit(syntax_tree, typed)
    for visitor in (typed, together, *visitors):
        vars(visitor).clear()  # each keeps methods of its own, and would be left to the garbage collector


def _operations(schema: GraphQLSchema, syntax_tree: DocumentNode) -> dict[str | None, Operation]:
    """The operations of a valid document by name, and under None the one that needs no name."""
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
            names = {field.name.value for field in fields_of([definition.selection_set], fragments)}
            introspects = all(name.startswith("__") for name in names)
            operations[name] = Operation(definition.operation, costs.of(definition), introspects)
    if len(operations) == 1:
        [operations[None]] = list(operations.values())
    return operations

"""Validation: a document's text is parsed, measured and checked against the schema, step by step."""

from collections.abc import Generator, Sequence
from contextlib import suppress

from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OverlappingFieldsCanBeMergedRule,
    TypeInfo,
    TypeInfoVisitor,
    ValidationContext,
    Visitor,
    specified_rules,
    visit,
)
from graphql.language import Lexer, ParallelVisitor, Source, Token
from graphql.language.parser import Parser
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from api.graphql.document_limits import exceeded_limits
from api.graphql.errors import ErrorCode

MAX_LENGTH = 20_000
"""Characters of a document, comments included. The lexer takes a quarter of a microsecond for each."""

MAX_TOKENS = 400
"""Tokens of a document. Introspection has 191. A purchase with all its outcomes has 69. Parsing 400 tokens takes 2.5 ms
(measured on 2 shared cores), and parsing cannot be divided into steps."""

MAX_ERRORS = 5
"""Errors in the answer to one document. Describing an error costs more than finding it: up to 0.6 ms where its message
repeats what was sent."""

RULES_AT_ONCE = 5
"""Rules that one pass over a document checks. With MAX_TOKENS, one pass with all rules takes 10 ms. A pass with this
many takes 3 ms at most (measured on 2 shared cores)."""

_RULES = [*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule]
_RULES.remove(OverlappingFieldsCanBeMergedRule)
_PASSES: tuple[Sequence[type[ASTValidationRule]], ...] = (
    *(_RULES[start : start + RULES_AT_ONCE] for start in range(0, len(_RULES), RULES_AT_ONCE)),
    # Only for a document without errors: where a fragment spreads itself, its fields have not been counted.
    [OverlappingFieldsCanBeMergedRule],
)


class InvalidDocument(Exception):
    """The document cannot be parsed, is not valid, or asks for too much. `errors` is the reason, and `code` the code
    of them all."""

    def __init__(self, code: ErrorCode, errors: Sequence[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.code = code
        self.errors = list(errors)


def parse_and_validate(schema: GraphQLSchema, text: str) -> Generator[None, None, DocumentNode]:
    """Parse, measure and validate a text, step by step. Returns the syntax tree. Raises InvalidDocument."""
    require_length(text)
    code = ErrorCode.GRAPHQL_PARSE_FAILED
    try:
        syntax_tree = _parse(text)
        code = ErrorCode.GRAPHQL_VALIDATION_FAILED
        yield
        errors = exceeded_limits(syntax_tree, MAX_ERRORS)
        if not errors:
            errors = yield from _validate(schema, syntax_tree)
    except GraphQLSyntaxError as error:
        errors = [error.with_traceback(None)]  # the traceback and this frame would refer to each other
    except RecursionError:
        errors = [GraphQLError("The document is nested too deeply.")]
    if errors:
        raise InvalidDocument(code, errors)
    return syntax_tree


def require_length(text: str) -> None:
    """Raises InvalidDocument for a text of more than MAX_LENGTH characters."""
    if len(text) > MAX_LENGTH:
        message = f"The document has {len(text)} characters; {MAX_LENGTH} are allowed. Send values as variables."
        raise InvalidDocument(ErrorCode.GRAPHQL_PARSE_FAILED, [GraphQLError(message)])


def _parse(text: str) -> DocumentNode:
    """Parse a text. Raises GraphQLSyntaxError, RecursionError.

    The tokens of graphql-core refer to each other in both directions. These references are removed here, so that a
    document is freed as soon as it is dropped. Otherwise a flood of documents would make the garbage collector stop
    everything else.
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
    """Do what graphql-core's `validate` does, pass by pass, so that no step takes long. Returns the errors."""
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
    """Walk through the whole document with all visitors, and stop when too many errors are found."""
    together = ParallelVisitor(visitors)
    typed = TypeInfoVisitor(type_info, together)
    with suppress(_TooManyErrors):
        visit(syntax_tree, typed)
    for visitor in (typed, together, *visitors):
        vars(visitor).clear()  # a visitor keeps its own bound methods: a cycle, left to the garbage collector

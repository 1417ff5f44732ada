"""Validation: a document's text is parsed, measured and checked against the schema, step by step."""

from collections.abc import Generator, Sequence
from contextlib import suppress

from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    Node,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    TypeInfo,
    TypeInfoVisitor,
    ValidationContext,
    Visitor,
    specified_rules,
    visit,
)
from graphql.language import Lexer, ParallelVisitor, Source, Token, TokenKind
from graphql.language.parser import Parser
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from api.graphql.document_limits import exceeded_limits
from api.graphql.errors import ErrorCode

MAX_LENGTH = 20_000
"""Characters of a document, comments included. The lexer takes a quarter of a microsecond for each."""

MAX_TOKENS = 1_000
"""Tokens of a document. Introspection has 191. A file with all operations of a shop's pages has some 500. The
operations of our own pages, the operator's among them, have 1,000."""

MAX_TOKENS_AT_ONCE = 400
"""Tokens of one operation or fragment. A purchase with all its outcomes has 69. Parsing 400 tokens takes 2.5 ms
(measured on 2 shared cores), and the parsing of one definition cannot be divided into steps."""

MAX_ERRORS = 5
"""Errors in the answer to one document. Describing an error costs more than finding it: up to 0.6 ms where its message
repeats what was sent."""

MAX_SUGGESTIONS = 1
"""Errors of a document that suggest another name. Comparing a name with those of all types takes 2 ms."""

RULES_AT_ONCE = 5
"""Rules that one pass over a document of MAX_TOKENS_AT_ONCE checks; fewer over a longer one. A pass with all rules
takes 10 ms, and a pass with this many 3 ms at most (measured on 2 shared cores)."""

_RULES = [*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule]
_RULES.remove(OverlappingFieldsCanBeMergedRule)


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
        syntax_tree, tokens = yield from _parse(text)
        code = ErrorCode.GRAPHQL_VALIDATION_FAILED
        yield
        errors = exceeded_limits(syntax_tree, MAX_ERRORS)
        if not errors:
            errors = yield from _validate(schema, syntax_tree, tokens)
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


class _Parser(Parser):
    """Parses a document definition by definition."""

    definition = 0
    """Tokens of the present definition up to now."""

    def advance_lexer(self) -> None:
        super().advance_lexer()
        self.definition += 1
        if self.definition > MAX_TOKENS_AT_ONCE:
            message = f"A definition contains more than {MAX_TOKENS_AT_ONCE} tokens. Parsing aborted."
            raise GraphQLSyntaxError(self._lexer.source, self._lexer.token.start, message)

    def parse_definitions(self) -> Generator[None, None, DocumentNode]:
        """The document, with a step for each definition."""
        definitions = []
        self.expect_token(TokenKind.SOF)
        while True:
            definitions.append(self.parse_definition())
            self.definition = 0
            if self.expect_optional_token(TokenKind.EOF):
                return DocumentNode(definitions=tuple(definitions))
            yield


def _parse(text: str) -> Generator[None, None, tuple[DocumentNode, int]]:
    """Parse a text, step by step. Returns the syntax tree and its tokens. Raises GraphQLSyntaxError, RecursionError.

    The tokens of graphql-core refer to each other in both directions. These references are removed here, so that a
    document is freed as soon as it is dropped. Otherwise a flood of documents would make the garbage collector stop
    everything else.
    """
    lexer = Lexer(Source(text))
    first = lexer.token
    try:
        parser = _Parser(lexer.source, lexer=lexer, max_lexical_tokens=MAX_TOKENS)
        syntax_tree = yield from parser.parse_definitions()
        return syntax_tree, parser.token_count
    finally:
        token: Token | None = first
        while token is not None:
            following, token.next, token.prev = token.next, None, None
            token = following


class _TooManyErrors(Exception):
    """MAX_ERRORS errors have been found."""


class _Context(ValidationContext):
    """Suggests other names in the first errors only."""

    found: Sequence[GraphQLError] = ()
    """The errors up to now."""

    @property
    def hide_suggestions(self) -> bool:
        return len(self.found) >= MAX_SUGGESTIONS


def _passes(tokens: int) -> Sequence[Sequence[type[ASTValidationRule]]]:
    """The rules of each pass over a document of so many tokens."""
    at_once = max(1, min(RULES_AT_ONCE, RULES_AT_ONCE * MAX_TOKENS_AT_ONCE // (tokens + 1)))
    return [_RULES[start : start + at_once] for start in range(0, len(_RULES), at_once)]


def _validate(
    schema: GraphQLSchema, syntax_tree: DocumentNode, tokens: int
) -> Generator[None, None, list[GraphQLError]]:
    """Do what graphql-core's `validate` does, pass by pass, so that no step takes long. Returns the errors."""
    errors: list[GraphQLError] = []

    def add(error: GraphQLError) -> None:
        if len(errors) >= MAX_ERRORS:
            errors.append(GraphQLError("Too many validation errors, error limit reached. Validation aborted."))
            raise _TooManyErrors
        errors.append(error)

    type_info = TypeInfo(schema)
    context = _Context(schema, syntax_tree, type_info, add)
    context.found = errors
    for definition in syntax_tree.definitions:
        if isinstance(definition, OperationDefinitionNode):
            context.get_recursive_variable_usages(definition)  # kept for the rules, which would find all in one step
            yield
    for rules in _passes(tokens):
        yield from _visit([syntax_tree], type_info, [rule(context) for rule in rules])
        if len(errors) > MAX_ERRORS:
            return errors
    if not errors:  # where a fragment spreads itself, its fields have not been counted
        yield from _visit(syntax_tree.definitions, type_info, [OverlappingFieldsCanBeMergedRule(context)])
    return errors


def _visit(parts: Sequence[Node], type_info: TypeInfo, visitors: Sequence[Visitor]) -> Generator[None, None, None]:
    """Walk through the parts of a document with all visitors, with a step for each part. Stop when too many errors are
    found."""
    together = ParallelVisitor(visitors)
    typed = TypeInfoVisitor(type_info, together)
    with suppress(_TooManyErrors):
        for part in parts:
            visit(part, typed)
            yield
    for visitor in (typed, together, *visitors):
        vars(visitor).clear()  # a visitor keeps its own bound methods: a cycle, left to the garbage collector

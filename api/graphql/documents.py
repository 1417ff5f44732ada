"""Documents: parsed and validated once, kept for the next request, and refused when they ask for too much."""

from collections import OrderedDict
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

MAX_LENGTH = 20_000
"""Characters in a document, comments and all: the lexer takes a quarter of a microsecond for each."""

MAX_TOKENS = 500
"""Tokens in a document. Introspection has 191, and a purchase with all its outcomes 69. Validation compares fields of
one name pair by pair, so that its time grows with the square of this."""

MAX_DEPTH = 20
"""Levels of fields in an operation. The deepest useful query of this schema has 5, introspection 15."""

MAX_FIELDS = 600
"""Fields in all definitions of a document, those of fragments wherever they are used. Introspection has 473.
Execution resolves each of them for every row of a page."""

MAX_ALIASES = 10
"""Aliased fields in an operation, those of fragments wherever they are used: each can be one more page to read."""

MAX_ERRORS = 10
"""Errors told of one document. Describing an error costs more than finding it."""

KEPT_DOCUMENTS = 1_000
KEPT_LENGTH = 8_000
"""Characters. Longer documents are served but not kept."""

KEPT_CHARACTERS = 250_000
"""Characters of all kept documents together. A parsed document takes about 100 bytes per character of its text."""

_RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)


class InvalidDocument(Exception):
    """The document cannot be parsed, is not valid, or asks for too much; `errors` say why."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


class Documents:
    """The documents of one schema, the most recently used of them kept ready to execute."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._kept: OrderedDict[str, DocumentNode] = OrderedDict()
        self._kept_characters = 0

    def get(self, text: str) -> DocumentNode:
        """The valid document that the text spells. Raises InvalidDocument."""
        document = self._kept.get(text)
        if document is not None:
            self._kept.move_to_end(text)
            return document
        document = self._prepare(text)
        if len(text) <= KEPT_LENGTH:
            self._keep(text, document)
        return document

    def _keep(self, text: str, document: DocumentNode) -> None:
        self._kept[text] = document
        self._kept_characters += len(text)
        while len(self._kept) > KEPT_DOCUMENTS or self._kept_characters > KEPT_CHARACTERS:
            dropped, _ = self._kept.popitem(last=False)
            self._kept_characters -= len(dropped)

    def _prepare(self, text: str) -> DocumentNode:
        if len(text) > MAX_LENGTH:
            raise InvalidDocument(
                [
                    GraphQLError(
                        f"The document has {len(text)} characters; {MAX_LENGTH} are allowed. Send values as variables."
                    )
                ]
            )
        try:
            document = parse(text, max_lexical_tokens=MAX_TOKENS)
            # Before validation, which is the costly part.
            errors = _exceeded_limits(document) or validate(self._schema, document, _RULES, max_errors=MAX_ERRORS)
        except GraphQLSyntaxError as error:
            errors = [error]
        except RecursionError:
            errors = [GraphQLError("The document is nested too deeply.")]
        if errors:
            raise InvalidDocument(errors)
        return document


def operation_type(document: DocumentNode, operation_name: str | None) -> OperationType | None:
    """What kind of operation would run; None when the name fits none, which the execution then explains."""
    operation = get_operation_ast(document, operation_name)
    return None if operation is None else operation.operation


@dataclass(frozen=True, slots=True)
class _Extent:
    """How deep a selection goes, and how many fields it has, aliased ones among them, fragments included."""

    depth: int = 0
    fields: int = 0
    aliases: int = 0


class _Extents:
    """Measures selections, each fragment once: fragments that spread each other twice would double the work
    with every step, and that is what an attacker sends."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._measured: dict[str, _Extent] = {}

    def of(self, selection_set: SelectionSetNode | None) -> _Extent:
        if selection_set is None:
            return _Extent()
        depth = fields = aliases = 0
        for selection in selection_set.selections:
            match selection:
                case FieldNode():
                    inner = self.of(selection.selection_set)
                    depth = max(depth, inner.depth + 1)
                    fields += inner.fields + 1
                    aliases += inner.aliases + (selection.alias is not None)
                    continue
                case FragmentSpreadNode():
                    inner = self.of_fragment(selection.name.value)
                case InlineFragmentNode():
                    inner = self.of(selection.selection_set)
                case _:
                    continue
            depth = max(depth, inner.depth)
            fields += inner.fields
            aliases += inner.aliases
        return _Extent(depth, fields, aliases)

    def of_fragment(self, name: str) -> _Extent:
        if name not in self._fragments:
            return _Extent()
        if name not in self._measured:
            self._measured[name] = _Extent()  # ends a cycle, which validation then reports
            self._measured[name] = self.of(self._fragments[name].selection_set)
        return self._measured[name]


def _exceeded_limits(document: DocumentNode) -> list[GraphQLError]:
    extents = _Extents(document)
    errors = []
    fields = 0
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            fields += extents.of_fragment(definition.name.value).fields
        elif isinstance(definition, OperationDefinitionNode):
            extent = extents.of(definition.selection_set)
            fields += extent.fields
            if extent.depth > MAX_DEPTH:
                errors.append(GraphQLError(f"The operation is {extent.depth} levels deep; {MAX_DEPTH} are allowed."))
            if extent.aliases > MAX_ALIASES:
                errors.append(GraphQLError(f"The operation has {extent.aliases} aliases; {MAX_ALIASES} are allowed."))
    if fields > MAX_FIELDS:
        errors.append(GraphQLError(f"The document has {fields} fields, fragments included; {MAX_FIELDS} are allowed."))
    return errors[:MAX_ERRORS]

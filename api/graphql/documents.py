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

MAX_TOKENS = 1_000
"""Tokens in a document. GraphiQL's introspection query has about 300."""

MAX_DEPTH = 20
"""Levels of fields in an operation. The deepest useful query of this schema has 5, introspection 15."""

MAX_ALIASES = 30
"""Aliased fields in an operation, those of fragments wherever they are used: each can be one more read."""

KEPT_DOCUMENTS = 1_000
KEPT_LENGTH = 8_000
"""Characters. Longer documents are served but not kept, so that the cache stays small whatever is sent."""

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

    def get(self, text: str) -> DocumentNode:
        """The valid document that the text spells. Raises InvalidDocument."""
        document = self._kept.get(text)
        if document is not None:
            self._kept.move_to_end(text)
            return document
        document = self._prepare(text)
        if len(text) <= KEPT_LENGTH:
            self._kept[text] = document
            if len(self._kept) > KEPT_DOCUMENTS:
                self._kept.popitem(last=False)
        return document

    def _prepare(self, text: str) -> DocumentNode:
        try:
            document = parse(text, max_tokens=MAX_TOKENS)
            # Before validation, which is the costly part.
            errors = _exceeded_limits(document) or validate(self._schema, document, _RULES)
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
    """How deep a selection goes, and how many aliased fields it has, fragments included."""

    depth: int = 0
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
        depth = aliases = 0
        for selection in selection_set.selections:
            match selection:
                case FieldNode():
                    inner = self.of(selection.selection_set)
                    depth = max(depth, inner.depth + 1)
                    aliases += inner.aliases + (selection.alias is not None)
                    continue
                case FragmentSpreadNode():
                    inner = self._of_fragment(selection.name.value)
                case InlineFragmentNode():
                    inner = self.of(selection.selection_set)
                case _:
                    continue
            depth = max(depth, inner.depth)
            aliases += inner.aliases
        return _Extent(depth, aliases)

    def _of_fragment(self, name: str) -> _Extent:
        if name not in self._fragments:
            return _Extent()
        if name not in self._measured:
            self._measured[name] = _Extent()  # ends a cycle, which validation then reports
            self._measured[name] = self.of(self._fragments[name].selection_set)
        return self._measured[name]


def _exceeded_limits(document: DocumentNode) -> list[GraphQLError]:
    extents = _Extents(document)
    errors = []
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            extent = extents.of(definition.selection_set)
            if extent.depth > MAX_DEPTH:
                errors.append(GraphQLError(f"The operation is {extent.depth} levels deep; {MAX_DEPTH} are allowed."))
            if extent.aliases > MAX_ALIASES:
                errors.append(GraphQLError(f"The operation has {extent.aliases} aliases; {MAX_ALIASES} are allowed."))
    return errors

"""Extents: how much a document asks for, measured before any work that costs more than parsing it."""

from collections.abc import Mapping
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

MAX_DEPTH = 20
"""Levels of fields in an operation. The deepest useful query of this schema has 5, introspection 15."""

MAX_FIELDS = 600
"""Fields in all definitions of a document. The fields of a fragment count at each use. Introspection has 473."""

MAX_OPERATIONS = 50
"""Operations in a document. Validation checks the variables of each operation by itself: 100 operations took 7 ms."""

MAX_ROOT_FIELDS = 50
"""Fields at the root of an operation, those of fragments included. Each can be one more page to read, or one more
purchase. A gateway that reads each product of a page by itself sends one for each, with an alias."""

MAX_INTROSPECTIONS = 10
"""`__schema` and `__type` at the root of an operation. Their cost is not bounded otherwise: ten of `__schema` with all
its fields take as long as five introspections by a tool."""

MAX_SAME = 20
"""Selections of one response name in one place, those of fragments included. Validation compares them pair by pair: 497
selections took 160 ms. A name is selected more than once where fragments overlap. An example is a page whose components
each have a fragment that selects the id."""


def exceeded_limits(document: DocumentNode, most: int) -> list[GraphQLError]:
    """An error for each limit that a document exceeds, `most` errors at most."""
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    extents = _Extents(fragments)
    errors = []
    fields = operations = 0
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            extent = extents.of_fragment(definition.name.value)
            fields += extent.fields
            what = f"The fragment {definition.name.value}"
        elif isinstance(definition, OperationDefinitionNode):
            extent = extents.of(definition.selection_set)
            fields += extent.fields
            what = "The operation"
            operations += 1
            errors += _root_fields_exceeded(definition, fragments)
        else:
            continue
        if extent.depth > MAX_DEPTH:
            errors.append(GraphQLError(f"{what} is {extent.depth} levels deep; {MAX_DEPTH} are allowed."))
    if operations > MAX_OPERATIONS:
        errors.append(GraphQLError(f"The document has {operations} operations; {MAX_OPERATIONS} are allowed."))
    if fields > MAX_FIELDS:
        errors.append(GraphQLError(f"The document has {fields} fields, fragments included; {MAX_FIELDS} are allowed."))
    return errors[:most] or _repeated_too_often(document, fragments)


def _root_fields_exceeded(
    operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> list[GraphQLError]:
    fields = fields_of([operation.selection_set], fragments)
    introspections = sum(field.name.value in ("__schema", "__type") for field in fields)
    errors = []
    if len(fields) > MAX_ROOT_FIELDS:
        message = f"The operation has {len(fields)} fields at its root; {MAX_ROOT_FIELDS} are allowed."
        errors.append(GraphQLError(message))
    if introspections > MAX_INTROSPECTIONS:
        message = f"The operation reads the schema {introspections} times; {MAX_INTROSPECTIONS} are allowed."
        errors.append(GraphQLError(message))
    return errors


@dataclass(frozen=True, slots=True)
class _Extent:
    """The depth of a selection, and its fields. Fragments are included."""

    depth: int = 0
    fields: int = 0


class _Extents:
    """Measures selections, and each fragment only once. An attacker sends a chain of fragments, each of which spreads
    the next one twice: measured at each use, every link of the chain would double the work."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._measured: dict[str, _Extent] = {}

    def of(self, selection_set: SelectionSetNode | None) -> _Extent:
        if selection_set is None:
            return _Extent()
        depth = fields = 0
        for selection in selection_set.selections:
            match selection:
                case FieldNode():
                    inner = self.of(selection.selection_set)
                    depth = max(depth, inner.depth + 1)
                    fields += inner.fields + 1
                    continue
                case FragmentSpreadNode():
                    inner = self.of_fragment(selection.name.value)
                case InlineFragmentNode():
                    inner = self.of(selection.selection_set)
                case _:
                    continue
            depth = max(depth, inner.depth)
            fields += inner.fields
        return _Extent(depth, fields)

    def of_fragment(self, name: str) -> _Extent:
        if name not in self._fragments:
            return _Extent()
        if name not in self._measured:
            self._measured[name] = _Extent()  # ends a cycle; validation reports it
            self._measured[name] = self.of(self._fragments[name].selection_set)
        return self._measured[name]


def _repeated_too_often(document: DocumentNode, fragments: Mapping[str, FragmentDefinitionNode]) -> list[GraphQLError]:
    """An error for the first response name that is found more than MAX_SAME times in one place. All places together
    have MAX_FIELDS fields at most, unless a fragment spreads itself: validation reports that."""
    left = MAX_FIELDS
    places: list[list[FieldNode]] = []
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode | OperationDefinitionNode):
            places.append(fields_of([definition.selection_set], fragments))
    while places and left >= 0:
        by_name: dict[str, list[FieldNode]] = {}
        place = places.pop()
        left -= len(place)
        for field in place:
            by_name.setdefault(field.alias.value if field.alias else field.name.value, []).append(field)
        for name, same in by_name.items():
            if len(same) > MAX_SAME:
                message = f"{name} is selected {len(same)} times in one place; {MAX_SAME} are allowed."
                return [GraphQLError(message, [same[0]])]
            deeper = [field.selection_set for field in same if field.selection_set is not None]
            if deeper:
                places.append(fields_of(deeper, fragments))
    return []


def fields_of(
    selection_sets: list[SelectionSetNode], fragments: Mapping[str, FragmentDefinitionNode]
) -> list[FieldNode]:
    """The fields in one place, those of fragments included. Each fragment counts once, as in execution."""
    fields: list[FieldNode] = []
    spread: set[str] = set()
    waiting = list(reversed(selection_sets))
    while waiting:
        for selection in waiting.pop().selections:
            match selection:
                case FieldNode():
                    fields.append(selection)
                case InlineFragmentNode():
                    waiting.append(selection.selection_set)
                case FragmentSpreadNode() if selection.name.value in fragments:
                    if selection.name.value not in spread:
                        spread.add(selection.name.value)
                        waiting.append(fragments[selection.name.value].selection_set)
    return fields

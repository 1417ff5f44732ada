"""Variations of a document: the same fields, written with fragments, directives, aliases, variables and repetitions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    GraphQLArgument,
    GraphQLCompositeType,
    GraphQLNonNull,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    VariableNode,
    get_named_type,
    print_ast,
    value_from_ast_untyped,
)

MAX_ALIASES = 6
"""Aliases that a variation adds. A document may have ten in an operation, those of a repeated fragment included."""

MAX_SELECTIONS = 4
"""Selections that are kept of more in one place. hypothesis-graphql makes documents that are longer than allowed."""

INTROSPECTION = ("__typename", "__schema { queryType { name } }", '__type(name: "Query") { name kind fields { name } }')


@dataclass(frozen=True)
class Varied:
    """A document, the names of its operations and some that it has not, and variables: right, missing and wrong."""

    text: str
    names: Sequence[str | None]
    variables: Sequence[dict[str, Any] | None]


def vary(schema: GraphQLSchema, document: DocumentNode, seed: int) -> Varied:
    """A variation of a document that has one operation, without a name, and no fragments."""
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    return _Writer(schema, Random(seed)).vary(operation)  # noqa: S311


class _Writer:
    """Writes one variation."""

    def __init__(self, schema: GraphQLSchema, random: Random) -> None:
        self._schema = schema
        self._random = random
        self._definitions: list[str] = []
        """The variables, as the operation defines them."""
        self._values: dict[str, Any] = {}
        self._fragments: list[str] = []
        self._aliases = 0

    def vary(self, operation: OperationDefinitionNode) -> Varied:
        root = self._schema.get_root_type(operation.operation)
        assert root is not None
        selections = self._selections(operation.selection_set.selections, root)
        if operation.operation is OperationType.QUERY and self._happens(0.2):
            selections += f" {self._random.choice(INTROSPECTION)}"
        variables = f"({', '.join(self._definitions)})" if self._definitions else ""
        text = f"{operation.operation.value} Main{variables} {{ {selections} }}"
        names: Sequence[str | None] = (None, "Main", "Nobody")
        if self._happens(0.2):
            text += "\nquery Second { second: __typename }"
            names = ("Main", "Second", None, "")
        return Varied("\n".join([text, *self._fragments]), names, self._several_values())

    def _happens(self, share: float) -> bool:
        return self._random.random() < share

    def _blank(self) -> str:
        """What separates two selections. It moves the locations of errors."""
        return self._random.choice((" ", " ", "\n", "\n    ", ", ", "\n# a comment\n"))

    def _selections(self, selections: Sequence[SelectionNode], parent: GraphQLCompositeType) -> str:
        if len(selections) > MAX_SELECTIONS:
            selections = self._random.sample(selections, MAX_SELECTIONS)
        written = [text for selection in selections for text in self._selection(selection, parent)]
        if self._happens(0.25):
            alias = self._alias() if self._happens(0.5) else ""
            written.insert(self._random.randrange(len(written) + 1), f"{alias}__typename{self._directives(0.3)}")
        if self._happens(0.35):
            start = self._random.randrange(len(written))
            end = self._random.randrange(start, len(written)) + 1
            written[start:end] = self._in_a_fragment(self._blank().join(written[start:end]), parent)
        return self._blank().join(written)

    def _in_a_fragment(self, selections: str, parent: GraphQLCompositeType) -> list[str]:
        """The selections in a fragment. A named fragment can be spread twice."""
        kind = self._random.choice(("untyped", "typed", "named", "named"))
        if kind != "named":
            condition = f" on {parent.name}" if kind == "typed" else ""
            return [f"...{condition}{self._directives(0.5)} {{ {selections} }}"]
        name = f"F{len(self._fragments)}"
        self._fragments.append(f"fragment {name} on {parent.name} {{ {selections} }}")
        return [f"...{name}{self._directives(0.5)}" for _ in range(self._random.choice((1, 1, 2)))]

    def _selection(self, selection: SelectionNode, parent: GraphQLCompositeType) -> list[str]:
        if isinstance(selection, InlineFragmentNode):
            assert selection.type_condition is not None
            on: Any = self._schema.type_map[selection.type_condition.name.value]
            inner = self._selections(selection.selection_set.selections, on)
            return [f"... on {on.name}{self._directives(0.2)} {{ {inner} }}"]
        assert isinstance(selection, FieldNode)
        name = selection.name.value
        if selection.alias is not None:
            name = f"{selection.alias.value}: {name}"
        elif self._happens(0.15):
            name = f"{self._alias()}{name}"
        definition: Any = self._schema.get_field(parent, selection.name.value)
        arguments = self._arguments(selection.arguments or (), definition.args)
        if selection.selection_set is None:
            repetitions = 2 if self._happens(0.1) else 1
            return [f"{name}{arguments}{self._directives(0.15)}" for _ in range(repetitions)]
        below = selection.selection_set.selections
        parts: Sequence[Sequence[SelectionNode]] = [below]
        if self._happens(0.2):
            half = (len(below) + 1) // 2
            parts = [below[:half], below[half:] or below[:1]]
        of: Any = get_named_type(definition.type)
        return [f"{name}{arguments}{self._directives(0.15)} {{ {self._selections(part, of)} }}" for part in parts]

    def _alias(self) -> str:
        self._aliases += 1
        return f"a{self._aliases}: " if self._aliases <= MAX_ALIASES else ""

    def _directives(self, share: float) -> str:
        """@skip, @include or both, with a literal or a variable, in this share of the places."""
        if not self._happens(share):
            return ""
        names = self._random.choice((("include",), ("skip",), ("skip", "include"), ("include", "skip")))
        return "".join(f" @{name}(if: {self._condition(shows=name == 'include')})" for name in names)

    def _condition(self, *, shows: bool) -> str:
        """A condition that lets the selection be in the response, most of the time."""
        condition = shows if self._happens(0.75) else not shows
        if self._happens(0.4):
            return "true" if condition else "false"
        written = "true" if condition else "false"
        type_ = self._random.choice(("Boolean!", f"Boolean! = {written}", f"Boolean = {written}"))
        return self._variable(type_, condition)

    def _variable(self, type_and_default: str, value: Any) -> str:
        """A new variable. Where it has a default, it can have no value."""
        name = f"v{len(self._definitions)}"
        self._definitions.append(f"${name}: {type_and_default}")
        if "=" not in type_and_default or self._happens(0.5):
            self._values[name] = value
        return f"${name}"

    def _arguments(self, nodes: Sequence[ArgumentNode], definitions: dict[str, GraphQLArgument]) -> str:
        kept = [
            node
            for node in nodes
            if isinstance(definitions[node.name.value].type, GraphQLNonNull) or not self._happens(0.2)
        ]
        self._random.shuffle(kept)
        written = [f"{node.name.value}: {self._argument(node, definitions[node.name.value])}" for node in kept]
        return f"({', '.join(written)})" if written else ""

    def _argument(self, node: ArgumentNode, definition: GraphQLArgument) -> str:
        """The value as it is, or as a variable with or without a default."""
        literal = print_ast(node.value)
        if self._happens(0.5) or isinstance(node.value, VariableNode):
            return literal
        type_ = str(definition.type)
        if literal != "null" and self._happens(0.4):
            return self._variable(f"{type_.removesuffix('!')} = {literal}", value_from_ast_untyped(node.value))
        return self._variable(type_, value_from_ast_untyped(node.value))

    def _several_values(self) -> list[dict[str, Any] | None]:
        """Values of the variables: as they were, without some, with nulls, and with wrong ones."""
        wrong: tuple[Any, ...] = ("text", 7, 7.5, True, [1, None], {"n": "x", "unknown": 1}, 2**40, "")
        changes: list[Callable[[], Any]] = [lambda: None, lambda: self._random.choice(wrong)]
        several: list[dict[str, Any] | None] = [self._values]
        if not self._definitions:
            return [None]
        for change in changes:
            several.append({name: change() if self._happens(0.25) else value for name, value in self._values.items()})
        several.append({name: value for name, value in self._values.items() if self._happens(0.6)})
        return several

"""Relay's interface Node: what a client can read again by its id."""

import strawberry


@strawberry.interface(description="Something with an id of its own, which nothing else has. `node` reads it again.")
class Node:
    id: strawberry.ID = strawberry.field(description="A UUID.")

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """Whether the value is of this type. Strawberry's own check, of every object, takes three times as long."""
        return isinstance(value, cls)

    @classmethod
    def resolve_type(cls, node: "Node", *_: object) -> str:
        """The name of the node's type. Without this, Strawberry compares each node with all types."""
        return type(node).__name__

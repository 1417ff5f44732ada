"""Documents of a given size, and the refusals of documents, for tests of the limits."""

import inspect
import itertools
from collections.abc import Callable

import pytest
from graphql import Lexer, Source, TokenKind, get_introspection_query

from api.graphql.documents import Documents
from api.graphql.validation import MAX_LENGTH, MAX_TOKENS_AT_ONCE, InvalidDocument
from api.identity.turns import Turns


def turns() -> Turns:
    """The shares of time that documents are prepared in."""
    return Turns(0.1, 0.4)


def refusal(documents: Documents, text: str) -> list[str]:
    """The messages of the errors that the document is refused with."""
    with pytest.raises(InvalidDocument) as refused:
        documents.prepare(text)
    return [error.message for error in refused.value.errors]


def introspection_with_everything() -> str:
    """The standard introspection query with every option that this version of graphql-core has."""
    parameters = inspect.signature(get_introspection_query).parameters
    return get_introspection_query(**{name: True for name, each in parameters.items() if each.default in (True, False)})


def count_tokens(text: str) -> int:
    lexer = Lexer(Source(text))
    return next(number for number in itertools.count() if lexer.advance().kind is TokenKind.EOF)


def as_many_as_allowed(before: str, unit: Callable[[int], str], after: str) -> str:
    """Repeat the unit between `before` and `after`, up to the limits of tokens and characters."""
    text = before
    tokens = count_tokens(before) + count_tokens(after) + 1
    for number in itertools.count():
        another = unit(number)
        tokens += count_tokens(another)
        if tokens > MAX_TOKENS_AT_ONCE or len(text) + len(another) + len(after) > MAX_LENGTH:
            break
        text += another
    return text + after


def steps(first: str, each: str, on: str, last: str, count: int) -> str:
    """A query and a chain of fragments. `each` is a format, in which `{next}` is the name of the next fragment."""
    chain = [f"fragment F{step} on {on} {{ {each.format(next=f'F{step + 1}')} }}" for step in range(count)]
    return "\n".join([first, *chain, f"fragment F{count} on {on} {{ {last} }}"])

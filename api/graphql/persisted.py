"""Persisted documents: a request can name its document by an id, in place of the document's text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from graphql import GraphQLError

from api.graphql.errors import ErrorCode
from api.graphql.validation import InvalidDocument, require_length

_PREFIX = "sha256:"
_NAMES = ("documentId", "doc_id")
"""The parameters with an id: of "GraphQL over HTTP", appendix A, and of Relay."""


@dataclass(frozen=True, slots=True)
class DocumentId:
    """The id of a document. `automatic`: it comes from a client of automatic persisted queries, which sends the text
    next where the id is unknown. The clients know the answer to an unknown id by its message or by its code."""

    id: str
    automatic: bool


def document_id_of(parameters: Mapping[str, Any]) -> DocumentId | None:
    """The id in the parameters of a request; None where there is none."""
    extensions = parameters.get("extensions")
    automatic = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    if isinstance(automatic, dict) and isinstance(automatic.get("sha256Hash"), str):
        return DocumentId(automatic["sha256Hash"], automatic=True)
    for name in _NAMES:
        if isinstance(parameters.get(name), str):
            return DocumentId(parameters[name].removeprefix(_PREFIX), automatic=False)
    return None


class PersistedDocuments:
    """The documents that requests can name: those of our own pages, and the trusted documents."""

    def __init__(self, own: Iterable[str], trusted: Mapping[str, str] | None) -> None:
        """`own`: their texts. `trusted`: texts by the ids that a frontend's build has given them; None where every
        text may be sent. Each text has its SHA-256 as an id, too."""
        self._open = trusted is None
        ids = dict(trusted or {})
        self._texts = {id_.removeprefix(_PREFIX): text for id_, text in ids.items()}
        self._texts |= {_hash_of(text): text for text in (*own, *ids.values())}

    def text_of(self, query: str | None, named: DocumentId | None) -> str:
        """The text of a request's document. One of the two is not None. Raises InvalidDocument for an id that is
        unknown, or of another text than `query`."""
        if query is not None:
            if named is not None and named.automatic:
                self._require_id_of(query, named.id)
            return query
        assert named is not None
        text = self._texts.get(named.id)
        if text is None:
            raise _unknown(named, executes_others=self._open)
        return text

    def _require_id_of(self, query: str, named: str) -> None:
        require_length(query)
        if named != _hash_of(query) and self._texts.get(named) != query:
            message = "extensions.persistedQuery.sha256Hash must be the SHA-256 of the query, in hexadecimal digits"
            raise InvalidDocument(ErrorCode.BAD_USER_INPUT, [GraphQLError(message)])


def _unknown(named: DocumentId, *, executes_others: bool) -> InvalidDocument:
    """The clients of automatic persisted queries send the text after both of their answers. After the first, they send
    no hash any more: this server keeps no texts for them."""
    if not named.automatic:
        message = "This server has no document of this id. Send the document's text as query."
        if not executes_others:
            message = "This server has no document of this id, and executes those alone that it has."
        return InvalidDocument(ErrorCode.PERSISTED_QUERY_NOT_FOUND, [GraphQLError(message)])
    if executes_others:
        return InvalidDocument(ErrorCode.PERSISTED_QUERY_NOT_SUPPORTED, [GraphQLError("PersistedQueryNotSupported")])
    return InvalidDocument(ErrorCode.PERSISTED_QUERY_NOT_FOUND, [GraphQLError("PersistedQueryNotFound")])


def _hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()

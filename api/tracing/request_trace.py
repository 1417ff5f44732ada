"""One request's id and span, which go with the request through the code. No context variable has them: a line serves
the purchases of many requests in one task."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from api.tracing.span import Span

HEADER = b"x-request-id"

_SAFE = re.compile(rb"[A-Za-z0-9._:=+/-]{1,64}")
"""A request id that is taken from a client. A longer one, or one of other characters, is ignored: it goes into the
log."""


class RequestTrace:
    """What connects a request with its log lines and its spans.

    `span` is the innermost span that has begun; None for a request that is not traced.
    """

    __slots__ = ("_id", "span")

    def __init__(self, sent: Sequence[bytes] | None = None) -> None:
        """`sent`: the values of the client's HEADER; None where it sent none."""
        self.span: Span | None = None
        self._id: str | None = None
        if sent is not None and len(sent) == 1 and _SAFE.fullmatch(sent[0]):
            self._id = sent[0].decode("ascii")

    @property
    def known_id(self) -> str | None:
        """The id that the client sent, or that something was logged under; None if there is none yet."""
        return self._id

    def request_id(self) -> str:
        """The id of the request. One is made if there is none yet."""
        if self._id is None:
            self._id = uuid4().hex[:12]
        return self._id

    def log_fields(self) -> dict[str, str]:
        """The `extra` of a log line about this request."""
        fields = {"request_id": self.request_id()}
        if self.span is not None:
            fields["trace_id"], fields["span_id"] = self.span.ids
        return fields

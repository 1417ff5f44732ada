"""A transaction as Aurora DSQL keeps it: a snapshot, its writes until COMMIT, and its limits. It holds no lock."""

import time
from dataclasses import dataclass, field

from tests.dsql.backend import Answer
from tests.dsql.dialect import Kind, Statement
from tests.dsql.wire import Refusal, Refused

ROW_LIMIT = 3000
"""Rows changed."""

SIZE_LIMIT = 10 * 1024 * 1024
"""Bytes of the statements and their values, which is close to the bytes of the rows."""

ABORTED = Refusal("25P02", "current transaction is aborted, commands ignored until end of transaction block")
CONFLICT = Refusal("40001", "change conflicts with another transaction (OC000)")
SCHEMA_CHANGED = Refusal("40001", "schema has been updated by another transaction (OC001)")

INTERNAL_ERROR = Refusal("XX000", "internal error: transaction state is unknown")

_TWO_DDL = Refusal("0A000", "multiple ddl statements not supported in a transaction")
_DDL_AND_DML = Refusal("0A000", "ddl and dml are not supported in the same transaction")
_TOO_MANY_ROWS = Refusal("54000", "transaction row limit exceeded")
_TOO_LARGE = Refusal("54000", "transaction size limit 10mb exceeded")
_TOO_OLD = Refusal("54000", "transaction age limit of 300s exceeded")


@dataclass(frozen=True, slots=True)
class Write:
    """A statement to be run again at COMMIT, as it was sent to PostgreSQL, and its first answer."""

    statement: Statement
    request: bytes
    answer: Answer

    @property
    def rows(self) -> int:
        """How many rows it changed."""
        tag = self.answer.tag
        return int(tag.rsplit(" ", 1)[1]) if tag and tag.startswith(("INSERT", "UPDATE", "DELETE")) else 0


@dataclass(slots=True)
class Transaction:
    """`explicit`: begun by BEGIN, not by a single statement. `begun`: PostgreSQL has its snapshot.

    `read`: the bytes of the rows that the client got.
    `copied`: the tables in which another transaction has committed a write of the same rows since the snapshot. This
    transaction goes on with private copies of them, and its COMMIT will lose.
    """

    explicit: bool
    begun: bool = False
    aborted: bool = False
    ddl: bool = False
    dml: bool = False
    rows: int = 0
    size: int = 0
    read: int = 0
    started: float = field(default_factory=time.monotonic)
    writes: list[Write] = field(default_factory=list)
    copied: set[str] = field(default_factory=set)

    def admit(self, kind: Kind, longest: float) -> None:
        """Raises Refused when the transaction cannot have a statement of this kind, or is `longest` seconds old."""
        if time.monotonic() - self.started > longest:
            raise Refused(_TOO_OLD)
        if kind is Kind.DDL:
            if self.ddl or self.dml:
                raise Refused(_TWO_DDL if self.ddl else _DDL_AND_DML)
            self.ddl = True
        elif kind is Kind.WRITE:
            if self.ddl:
                raise Refused(_DDL_AND_DML)
            self.dml = True

    def record(self, write: Write) -> None:
        """Keep a write for COMMIT. Raises Refused when the transaction then has too many rows or bytes."""
        self.writes.append(write)
        if write.statement.kind is Kind.WRITE:
            self.rows += write.rows
            self.size += len(write.request)
            if self.rows > ROW_LIMIT:
                raise Refused(_TOO_MANY_ROWS)
            if self.size > SIZE_LIMIT:
                raise Refused(_TOO_LARGE)

"""A statement as a client sends it: its kind, why it is refused, and the text that PostgreSQL gets instead."""

import enum
import functools
from dataclasses import dataclass
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import TransactionStmtKind
from pglast.parser import ParseError, Token, scan, split

from tests.dsql.refusals import nodes, refusal_of
from tests.dsql.wire import Refusal


class Kind(enum.Enum):
    """What a statement means for its transaction. A lock (SELECT FOR UPDATE) and a setting run again at COMMIT, as a
    write does, but change no rows."""

    READ = enum.auto()
    WRITE = enum.auto()
    LOCK = enum.auto()
    SETTING = enum.auto()
    DDL = enum.auto()
    BEGIN = enum.auto()
    COMMIT = enum.auto()
    ROLLBACK = enum.auto()


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    `text` is sent to PostgreSQL. `tag` replaces PostgreSQL's command tag, if `text` is not the client's statement.
    `targets` are the tables that it writes or locks, as far as it names them without their schema. `written` is the one
    table that it writes, as SQL names it, and `sets` are the columns that an UPDATE sets.
    `job` is the id that CALL sys.wait_for_job waits for, or the number of the parameter that holds it.
    """

    text: str
    kind: Kind
    refusal: Refusal | None = None
    tag: str | None = None
    names_tables: bool = False
    targets: frozenset[str] = frozenset()
    written: str | None = None
    sets: frozenset[str] | None = None
    needs_sys: bool = False
    creates_index: bool = False
    creates_function: str | None = None
    calls: frozenset[str] = frozenset()
    job: str | int | None = None


_CONTROL: dict[Any, Kind] = {
    TransactionStmtKind.TRANS_STMT_BEGIN: Kind.BEGIN,
    TransactionStmtKind.TRANS_STMT_START: Kind.BEGIN,
    TransactionStmtKind.TRANS_STMT_COMMIT: Kind.COMMIT,
    TransactionStmtKind.TRANS_STMT_ROLLBACK: Kind.ROLLBACK,
}
_READS = (ast.SelectStmt, ast.VariableShowStmt, ast.CallStmt, ast.ExplainStmt, ast.VacuumStmt)
_WRITES = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)

# Functions to which a cluster has other answers than the PostgreSQL behind the stand-in.
_OWN_ANSWERS = {"version", "current_database"}
_SERVER_VERSION = "SELECT sys.server_version()"


@functools.lru_cache(maxsize=4096)
def read_script(text: str) -> tuple[Statement, ...]:
    """The statements of a script, in order. A script that cannot be parsed is one refused statement."""
    try:
        if ";" not in text.rstrip().rstrip(";"):
            pieces = [text.rstrip().rstrip(";")]
        else:
            pieces = [text[piece] for piece in split(text, with_parser=False, only_slices=True)]
        return tuple(statement for piece in pieces if (statement := _read(piece)) is not None)
    except ParseError as error:
        return (Statement(text, Kind.READ, Refusal("42601", str(error.args[0]))),)


def _read(text: str) -> Statement | None:
    tokens = [token for token in scan(text) if not token.name.endswith("COMMENT")]
    if not tokens:
        return None
    words = [text[token.start : token.end + 1].upper() for token in tokens[:5]]
    if words[:2] == ["AWS", "IAM"]:  # IAM roles that may log in as a role of the database: here every one may
        return Statement("DO 'BEGIN END'", Kind.DDL, tag=" ".join(words[:3]))
    asynchronous = _asynchronous_index(words)
    [parsed] = parse_sql(_blank(text, tokens, "ASYNC") if asynchronous else text)
    statement: Any = parsed.stmt
    refusal = refusal_of(statement, asynchronous=asynchronous)
    if refusal is not None:
        return Statement(text, Kind.READ, refusal)
    if isinstance(statement, ast.TransactionStmt):
        return Statement(text, _CONTROL[statement.kind])
    if isinstance(statement, ast.IndexStmt):
        return _create_index(statement, _blank(text, tokens, "ASYNC", "UNIQUE"))
    if isinstance(statement, ast.VariableShowStmt) and statement.name == "server_version":
        return Statement(_SERVER_VERSION, Kind.READ, tag="SHOW", needs_sys=True)
    return _ordinary(statement, text)


def _ordinary(statement: Any, text: str) -> Statement:
    tree: list[Any] = list(nodes(statement))
    tables: list[Any] = [node for node in tree if isinstance(node, ast.RangeVar)]
    calls: list[Any] = [node for node in tree if isinstance(node, ast.FuncCall)]
    own = [call for call in calls if len(call.funcname) == 1 and call.funcname[0].sval in _OWN_ANSWERS]
    for call in sorted(own, key=lambda call: call.location, reverse=True):
        text = f"{text[: call.location]}sys.{text[call.location :]}"
    creates_function = type(statement) is ast.CreateFunctionStmt
    kind = _kind(statement, tree)
    targets = [statement.relation] if kind is Kind.WRITE else tables if kind is Kind.LOCK else []
    updates = isinstance(statement, ast.UpdateStmt)
    return Statement(
        text,
        kind,
        names_tables=bool(tables),
        targets=frozenset(table.relname for table in targets if table.schemaname is None),
        written=_name(statement.relation) if kind is Kind.WRITE else None,
        sets=frozenset(column.name for column in statement.targetList) if updates else None,
        needs_sys=bool(own)
        or any(table.schemaname == "sys" for table in tables)
        or any(call.funcname[0].sval == "sys" for call in calls),
        creates_function=statement.funcname[-1].sval if creates_function else None,
        calls=frozenset(call.funcname[-1].sval for call in calls),
        job=_awaited_job(statement),
    )


def _kind(statement: Any, tree: list[Any]) -> Kind:
    if isinstance(statement, (ast.VariableSetStmt, ast.ConstraintsSetStmt)):
        return Kind.SETTING
    if isinstance(statement, _WRITES):
        return Kind.WRITE
    if not isinstance(statement, _READS):
        return Kind.DDL
    return Kind.LOCK if any(isinstance(node, ast.LockingClause) for node in tree) else Kind.READ


def _create_index(statement: Any, text: str) -> Statement:
    """The call of the stand-in's function that makes the index, not yet valid, and returns the id of its job."""
    arguments = f"{_literal(text)}, {_literal(_name(statement.relation))}, {str(bool(statement.unique)).lower()}"
    return Statement(
        f"SELECT job_id FROM sys.create_index({arguments}) AS job_id",
        Kind.DDL,
        tag="CREATE INDEX",
        names_tables=True,
        needs_sys=True,
        creates_index=True,
    )


def _name(table: Any) -> str:
    return ".".join(f'"{part}"' for part in (table.schemaname, table.relname) if part)


def _awaited_job(statement: Any) -> str | int | None:
    if not isinstance(statement, ast.CallStmt):
        return None
    call: Any = statement.funccall
    if call.funcname[-1].sval != "wait_for_job" or not call.args:
        return None
    argument = call.args[0].arg if isinstance(call.args[0], ast.TypeCast) else call.args[0]
    if isinstance(argument, ast.ParamRef):
        return argument.number
    value: Any = argument.val if isinstance(argument, ast.A_Const) else None
    return value.sval if isinstance(value, ast.String) else None


def _asynchronous_index(words: list[str]) -> bool:
    return words[:3] == ["CREATE", "INDEX", "ASYNC"] or words[:4] == ["CREATE", "UNIQUE", "INDEX", "ASYNC"]


def _blank(text: str, tokens: list[Token], *words: str) -> str:
    """The text with `words`, if they are among its first four, replaced by spaces: no other word changes its place."""
    for token in tokens[:4]:
        if text[token.start : token.end + 1].upper() in words:
            text = text[: token.start] + " " * (token.end + 1 - token.start) + text[token.end + 1 :]
    return text


def _literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

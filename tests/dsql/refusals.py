"""The statements of PostgreSQL that Aurora DSQL refuses, recognised by their parse tree.

A refusal has the words of a real cluster if they are known (see recorded_answers.py); the other refusals follow their
pattern. Statements that are not confirmed to work (SKIP LOCKED, advisory locks, DML inside WITH, MERGE, cursors, COPY)
are refused, too, so that no code relies on them. Nodes of the tree are Any here, because in the parser's types every
field may be missing.
"""

from collections.abc import Callable, Iterator
from typing import Any

from pglast import ast
from pglast.enums import (
    AlterTableType,
    ConstrType,
    LockClauseStrength,
    LockWaitPolicy,
    SortByDir,
    TransactionStmtKind,
    VariableSetKind,
)

from tests.dsql.wire import Refusal

_ADVISORY = ("pg_advisory", "pg_try_advisory")
_SERIALS = {"serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"}
_TYPE_NAMES = {
    "int4": "integer",
    "int8": "bigint",
    "int2": "smallint",
    "bool": "boolean",
    "varchar": "character varying",
}
_SETTINGS = {
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "search_path",
    "timezone",
}
_LOCKS = {
    LockClauseStrength.LCS_FORKEYSHARE: "FOR KEY SHARE",
    LockClauseStrength.LCS_FORSHARE: "FOR SHARE",
    LockClauseStrength.LCS_FORNOKEYUPDATE: "FOR NO KEY UPDATE",
}
_SAVEPOINTS = {
    TransactionStmtKind.TRANS_STMT_SAVEPOINT: "SAVEPOINT",
    TransactionStmtKind.TRANS_STMT_RELEASE: "RELEASE",
    TransactionStmtKind.TRANS_STMT_ROLLBACK_TO: "ROLLBACK TO",
    TransactionStmtKind.TRANS_STMT_PREPARE: "PREPARE TRANSACTION",
    TransactionStmtKind.TRANS_STMT_COMMIT_PREPARED: "COMMIT PREPARED",
    TransactionStmtKind.TRANS_STMT_ROLLBACK_PREPARED: "ROLLBACK PREPARED",
}
_ALTERATIONS = {
    AlterTableType.AT_AddColumn,
    AlterTableType.AT_DropColumn,
    AlterTableType.AT_ColumnDefault,
    AlterTableType.AT_DropNotNull,
    AlterTableType.AT_DropExpression,
    AlterTableType.AT_SetStorage,
    AlterTableType.AT_AddConstraint,
    AlterTableType.AT_AlterConstraint,
    AlterTableType.AT_DropConstraint,
    AlterTableType.AT_AddIdentity,
    AlterTableType.AT_SetIdentity,
    AlterTableType.AT_DropIdentity,
    AlterTableType.AT_ChangeOwner,
}


def unsupported(message: str) -> Refusal:
    return Refusal("0A000", message)


def nodes(tree: Any) -> Iterator[Any]:
    """The node itself and all nodes below it."""
    if isinstance(tree, tuple):
        for item in tree:
            yield from nodes(item)
    elif isinstance(tree, ast.Node):
        yield tree
        for name in tree:
            yield from nodes(getattr(tree, name))


def refusal_of(statement: Any, *, asynchronous: bool) -> Refusal | None:
    """Why Aurora DSQL does not run this statement; None when it does. `asynchronous`: its INDEX had the word ASYNC."""
    if isinstance(statement, ast.IndexStmt):
        return _index(statement, asynchronous)
    rule = _RULES.get(type(statement))
    if rule is None:
        return unsupported(f"unsupported statement: {type(statement).__name__.removesuffix('Stmt')}")
    return rule(statement) or _anywhere(statement)


def _fine(_: Any) -> None:
    return None


def _anywhere(statement: Any) -> Refusal | None:
    for node in nodes(statement):
        match node:
            case ast.LockingClause(strength=strength) if strength in _LOCKS:
                return unsupported(f"{_LOCKS[strength]} not supported")
            case ast.LockingClause(waitPolicy=policy) if policy != LockWaitPolicy.LockWaitBlock:
                return unsupported(
                    f"{'NOWAIT' if policy == LockWaitPolicy.LockWaitError else 'SKIP LOCKED'} not supported"
                )
            case ast.CommonTableExpr(ctequery=inner) if not isinstance(inner, ast.SelectStmt):
                return unsupported("data-modifying statements in WITH not supported")
            case ast.FuncCall(funcname=(*_, ast.String(sval=str(name)))) if name.startswith(_ADVISORY):
                return unsupported(f"function {name} not supported")
            case ast.SelectStmt(intoClause=ast.IntoClause()):
                return unsupported("unsupported statement: SelectInto")
    return None


def _transaction(statement: Any) -> Refusal | None:
    if statement.kind in _SAVEPOINTS:
        return unsupported(f"unsupported transaction statement: {_SAVEPOINTS[statement.kind]}")
    for option in statement.options or ():
        if option.defname == "transaction_isolation" and option.arg.val.sval != "repeatable read":
            return unsupported(f"Unsupported isolation level: {option.arg.val.sval.upper()}")
    return None


def _set(statement: Any) -> Refusal | None:
    if statement.kind == VariableSetKind.VAR_RESET_ALL or (statement.name or "").lower() in _SETTINGS:
        return None
    return unsupported(f'setting configuration parameter "{statement.name}" not supported')


def _create_table(statement: Any) -> Refusal | None:
    if statement.relation.relpersistence == "t":
        return unsupported("TEMPORARY or TEMP table not supported for CREATE TABLE")
    if statement.relation.relpersistence == "u":
        return unsupported("UNLOGGED table not supported for CREATE TABLE")
    if statement.partspec or statement.partbound:
        return unsupported("PARTITION not supported for CREATE TABLE")
    if statement.inhRelations:
        return unsupported("INHERITS not supported for CREATE TABLE")
    for element in statement.tableElts or ():
        if isinstance(element, ast.ColumnDef) and (refusal := _column_type(element)):
            return refusal
    return None


def _column_type(column: Any) -> Refusal | None:
    name = column.typeName.names[-1].sval
    if name in _SERIALS:
        return Refusal("42704", f'type "{name}" does not exist')
    if column.typeName.arrayBounds:
        return unsupported(f"datatype {_TYPE_NAMES.get(name, name)}[] not supported")
    return None


def _alter_table(statement: Any) -> Refusal | None:
    for command in statement.cmds:
        kind, subject = command.subtype, command.def_
        if kind not in _ALTERATIONS:
            return unsupported(f"unsupported ALTER TABLE statement: {AlterTableType(kind).name.removeprefix('AT_')}")
        if kind == AlterTableType.AT_AddColumn:
            if subject.constraints:
                return unsupported("ALTER TABLE ADD COLUMN with constraint not supported")
            if refusal := _column_type(subject):
                return refusal
        elif kind == AlterTableType.AT_AddConstraint:
            promotes = subject.contype == ConstrType.CONSTR_UNIQUE and subject.indexname
            if not promotes and not subject.skip_validation:
                return unsupported("ALTER TABLE ADD CONSTRAINT without NOT VALID not supported")
    return None


def _index(statement: Any, asynchronous: bool) -> Refusal | None:
    if statement.concurrent:
        return unsupported("CONCURRENTLY not supported for CREATE INDEX")
    if not asynchronous:
        return unsupported("unsupported mode. please use CREATE INDEX ASYNC.")
    if any(key.ordering != SortByDir.SORTBY_DEFAULT for key in statement.indexParams):
        return unsupported("specifying sort order not supported for index keys")
    if statement.accessMethod != "btree":
        return unsupported(f'access method "{statement.accessMethod}" not supported for CREATE INDEX')
    return None


def _function(statement: Any) -> Refusal | None:
    if statement.is_procedure:
        return unsupported("CREATE PROCEDURE not supported")
    for option in statement.options or ():
        if option.defname == "language" and option.arg.sval != "sql":
            return unsupported(f"CREATE FUNCTION with language {option.arg.sval} not supported")
    return None


def _vacuum(statement: Any) -> Refusal | None:
    return unsupported("unsupported VACUUM statement") if statement.is_vacuumcmd else None


def _view(statement: Any) -> Refusal | None:
    return unsupported("TEMPORARY view not supported") if statement.view.relpersistence == "t" else None


def _always(message: str) -> Callable[[Any], Refusal]:
    return lambda _: unsupported(message)


_RULES: dict[type, Callable[[Any], Refusal | None]] = {
    ast.TransactionStmt: _transaction,
    ast.SelectStmt: _fine,
    ast.InsertStmt: _fine,
    ast.UpdateStmt: _fine,
    ast.DeleteStmt: _fine,
    ast.ExplainStmt: _fine,
    ast.CallStmt: _fine,
    ast.VariableShowStmt: _fine,
    ast.VariableSetStmt: _set,
    ast.ConstraintsSetStmt: _fine,
    ast.VacuumStmt: _vacuum,
    ast.CreateStmt: _create_table,
    ast.AlterTableStmt: _alter_table,
    ast.DropStmt: _fine,
    ast.RenameStmt: _fine,
    ast.ViewStmt: _view,
    ast.CreateFunctionStmt: _function,
    ast.AlterFunctionStmt: _fine,
    ast.CreateSchemaStmt: _fine,
    ast.CreateSeqStmt: _fine,
    ast.AlterSeqStmt: _fine,
    ast.CreateDomainStmt: _fine,
    ast.AlterDomainStmt: _fine,
    ast.AlterOwnerStmt: _fine,
    ast.AlterObjectSchemaStmt: _fine,
    ast.CommentStmt: _fine,
    ast.CreateStatsStmt: _fine,
    ast.CreateRoleStmt: _fine,
    ast.AlterRoleStmt: _fine,
    ast.DropRoleStmt: _fine,
    ast.GrantStmt: _fine,
    ast.GrantRoleStmt: _fine,
    ast.CreateTrigStmt: _always("CREATE TRIGGER not supported"),
    ast.CreateEnumStmt: _always("CREATE TYPE not supported"),
    ast.CreateRangeStmt: _always("CREATE TYPE not supported"),
}

"""Which room may import which, read from the source of every module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

API = Path(__file__).parent.parent / "api"
MODULES = sorted(API.rglob("*.py"))

# From the ground up. All other modules and rooms are on the roof. A room imports its own storey and those below.
STOREYS = ("tracing", "identity", "database", "drops", "graphql")
ROOF = len(STOREYS)

TRACING = {"api.tracing.span", "api.tracing.tracing", "api.tracing.export"}
"""The modules that import OpenTelemetry."""

TRANSPORT = {"aiohttp", "graphql", "starlette", "strawberry", "uvicorn", "websockets"}


def name_of(path: Path) -> str:
    parts = path.relative_to(API.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every module that is imported anywhere in the file, by its full name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively; write the full name"
            assert node.module is not None
            # `from api import server` names the module only in its second half.
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "api" else {node.module}
    return found


def room_of(module: str) -> str:
    """`drops` of api.drops.purchase, `settings` of api.settings."""
    return module.split(".")[1]


def storey_of(room: str) -> int:
    return STOREYS.index(room) if room in STOREYS else ROOF


def test_the_modules_and_their_imports_are_found() -> None:
    names = {name_of(path) for path in MODULES}
    assert {"api.app", "api.cli", "api.settings", "api.client.load", "api.database.pool", "api.drops.purchase"} <= names
    assert "api.database.pool" in imports_of(API / "drops" / "purchase.py")
    assert "api.server" in imports_of(API / "cli.py")


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent != API], ids=name_of)
def test_a_room_imports_only_itself_and_the_storeys_below(path: Path) -> None:
    room = room_of(name_of(path))
    rooms = {room_of(module) for module in imports_of(path) if module.startswith("api.")}
    if room == "client":
        assert rooms <= {"client"}, "the client knows the API as any other client does"
    elif room == "webhooks":
        assert rooms <= {"webhooks"}, "what sends events knows neither what happens nor who reads it"
    else:
        assert "client" not in rooms or room == "commands"
        assert {other for other in rooms if storey_of(other) > storey_of(room)} == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_database_speaks_to_the_driver_and_drops_know_no_transport(path: Path) -> None:
    packages = {module.split(".")[0] for module in imports_of(path)}
    room = path.relative_to(API).parts[0]
    if room != "database":
        assert "asyncpg" not in packages
    if room in ("database", "drops"):
        assert packages & TRANSPORT == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_has_a_docstring_and_no_vague_name(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    vague = {"base", "common", "core", "helper", "helpers", "manager", "misc", "service", "util", "utils"}
    assert vague & set(path.stem.split("_")) == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_opentelemetry_is_loaded_only_where_traces_are_on(path: Path) -> None:
    """By `new_tracing`, within a function. All other modules name its types, for the type checker alone."""
    if name_of(path) in TRACING:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else {node.module or ""}
            assert not any(name in TRACING or name.split(".")[0] == "opentelemetry" for name in names)


def test_a_command_loads_neither_the_application_nor_a_client_before_it_needs_them() -> None:
    code = "import sys, api.cli; print(sorted({'aiohttp', 'strawberry', 'uvicorn'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=API.parent, capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"

"""Which room may import which, read from the source of every module."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

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


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> set[str]:
    """Every module that is imported anywhere in the file, by its full name."""
    found = set()
    for node in ast.walk(tree_of(path)):
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


def objection_to_rooms(module: str, rooms: set[str]) -> str | None:
    """Why a module must not import these rooms; None if it may."""
    room = room_of(module)
    if room == "client":
        return "the client knows the API as any other client does" if rooms - {"client"} else None
    if room == "webhooks":
        return "what sends events knows neither what happens nor who reads it" if rooms - {"webhooks"} else None
    if "client" in rooms and room != "commands":
        return "only commands use the client"
    above = sorted(other for other in rooms if storey_of(other) > storey_of(room))
    return f"{', '.join(above)}: a room imports its own storey and those below" if above else None


def test_a_room_imports_only_itself_and_the_storeys_below() -> None:
    found = {}
    for path in MODULES:
        if path.parent != API:
            rooms = {room_of(module) for module in imports_of(path) if module.startswith("api.")}
            found[name_of(path)] = objection_to_rooms(name_of(path), rooms)
    assert {name: objection for name, objection in found.items() if objection} == {}


def test_only_the_database_speaks_to_the_driver_and_drops_know_no_transport() -> None:
    found = {}
    for path in MODULES:
        packages = {module.split(".")[0] for module in imports_of(path)}
        room = path.relative_to(API).parts[0]
        driver = {"asyncpg"} if room != "database" else set()
        transport = TRANSPORT if room in ("database", "drops") else set()
        found[name_of(path)] = packages & (driver | transport)
    assert {name: packages for name, packages in found.items() if packages} == {}


def test_a_module_has_a_docstring_and_no_vague_name() -> None:
    vague = {"base", "common", "core", "helper", "helpers", "manager", "misc", "service", "util", "utils"}
    assert [name_of(path) for path in MODULES if not ast.get_docstring(tree_of(path))] == []
    assert [name_of(path) for path in MODULES if vague & set(path.stem.split("_"))] == []


def test_opentelemetry_is_loaded_only_where_traces_are_on() -> None:
    """By `new_tracing`, within a function. All other modules name its types, for the type checker alone."""
    found = {}
    for path in MODULES:
        names = set()
        for node in tree_of(path).body:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
        found[name_of(path)] = {name for name in names if name in TRACING or name.split(".")[0] == "opentelemetry"}
    assert {name: imports for name, imports in found.items() if imports and name not in TRACING} == {}


def test_a_command_loads_neither_the_application_nor_a_client_before_it_needs_them() -> None:
    code = "import sys, api.cli; print(sorted({'aiohttp', 'strawberry', 'uvicorn'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=API.parent, capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"

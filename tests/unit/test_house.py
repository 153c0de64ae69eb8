"""The house: rooms import only rooms above them, and only `io` and what serves know sockets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import tsmodel

ROOMS = (
    "lazily",
    "html",
    "errors",
    "timestamps",
    "keys",
    "forking",
    "wire",
    "backend",
    "io",
    "types",
    "layout",
    "client",
    "model",
    "interop",
    "schema",
    "store",
    "frames",
    "query",
    "session",
    "server",
    "codegen",
    "cli",
    "web",
    "testing",
)
DRIVERS = {
    "cli/checks.py",
    "server/listener.py",
    "server/monitoring.py",
    "session/forwarding.py",
    "session/session_async.py",
    "testing/proxy.py",
    "web/application.py",
}
"""Modules outside of `io` that wait for sockets, threads or tasks themselves."""
AWAITING = {
    "client/channel_async.py",
    "query/following.py",
    "query/query.py",
    "session/forwarding.py",
    "session/session_async.py",
}
"""Modules outside of `io` that await: shells over work, and what has not become one yet."""
IO_MODULES = {"socket", "ssl", "asyncio", "select", "selectors"}
ONLY_FOR_TYPES = {
    ("errors", "backend"),
    ("errors", "keys"),
    ("errors", "model"),
    ("backend", "io"),
    ("model", "interop"),
    ("model", "query"),
    ("types", "interop"),
    ("types", "layout"),
    ("types", "model"),
}
LATE = {("backend", "io"), ("model", "interop"), ("model", "query"), ("cli", "web")}
"""May be imported inside a function: an earlier name of what lives in `io`; methods of models that are implemented in rooms
which need models; what `tsmodel ui` runs, which reads text as commands do."""


def faults(package: Path) -> Iterator[str]:
    """All violations of the house rules in a package's tree."""
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        room = name.split("/")[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        if room not in ROOMS:
            yield f"{name}: {room} is not a room"
            continue
        for node, imported, is_for_types, is_late in imports(path.read_text()):
            top, _, rest = imported.partition(".")
            if top in IO_MODULES and room != "io" and name not in DRIVERS and not is_for_types:
                yield f"{name}:{node.lineno}: imports {imported}; only io and what serves know sockets"
            if top != package.name:
                continue
            other = rest.split(".")[0]
            if other not in ROOMS:
                yield f"{name}:{node.lineno}: imports {imported}, which is not in a room"
            elif (
                ROOMS.index(other) > ROOMS.index(room)
                and not (is_for_types and (room, other) in ONLY_FOR_TYPES)
                and not (is_late and (room, other) in LATE)
            ):
                yield f"{name}:{node.lineno}: {room} imports {other}, which stands below it"


class Import(NamedTuple):
    """An import of a module.

    Attributes:
        node: where it stands.
        module: what is imported, or from where.
        is_for_types: whether only checkers see it.
        is_late: whether it is inside a function.
    """

    node: ast.stmt
    module: str
    is_for_types: bool
    is_late: bool


@cache
def parsed(source: str) -> ast.Module:
    """The tree of a module: several tests look at the same ones."""
    return ast.parse(source)


@cache
def imports(source: str) -> list[Import]:
    """All imports of a module."""
    found: list[Import] = []

    def visit(node: ast.AST, is_for_types: bool, is_late: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(node, alias.name, is_for_types, is_late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.append(Import(node, node.module or "", is_for_types, is_late))
        elif isinstance(node, ast.stmt | ast.Module | ast.ExceptHandler | ast.match_case):
            checked = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            inner = is_late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for name, value in ast.iter_fields(node):
                for each in value if isinstance(value, list) else ():
                    visit(each, is_for_types or (checked and name == "body"), inner)

    visit(parsed(source), is_for_types=False, is_late=False)
    return found


def cycles(package: Path) -> list[list[str]]:
    """Import cycles between modules, without imports that are only for types or late."""
    edges: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        room = module.split(".")[1] if "." in module else ""
        edges[module] = {
            each.module
            for each in imports(path.read_text())
            if not each.is_for_types
            and not (each.is_late and (room, each.module.split(".")[1:2]) in [(a, [b]) for a, b in LATE])
        }
    found = []

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
            return
        if module not in done:
            for imported in edges.get(module, ()):
                if imported in edges and imported != package.name:
                    visit(imported, [*path, module])
            done.add(module)

    done: set[str] = set()
    for module in edges:
        visit(module, [])
    return found


def test_rooms_import_only_rooms_above() -> None:
    assert list(faults(Path(tsmodel.__file__).parent)) == []


def test_no_import_cycles() -> None:
    assert cycles(Path(tsmodel.__file__).parent) == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("wire/x.py", "from tsmodel.layout import Layout", "wire imports layout"),
        ("wire/x.py", "def f():\n    import tsmodel.session", "wire imports session"),
        ("layout/x.py", "import socket", "only io and what serves know sockets"),
        ("store/x.py", "from asyncio import run", "only io and what serves know sockets"),
        ("model/x.py", "from tsmodel.query import Query", "model imports query"),
        ("attic/x.py", "", "attic is not a room"),
        # With these, mypy would take `tsmodel.field` for a module.
        ("query/x.py", "from tsmodel import Key", "not in a room"),
        ("query/x.py", "import tsmodel", "not in a room"),
        ("query/x.py", "def f():\n    import tsmodel", "not in a room"),
        ("query/x.py", "if TYPE_CHECKING:\n    from tsmodel import Key", "not in a room"),
    ],
)
def test_faults_are_found(tmp_path: Path, path: str, source: str, fault: str) -> None:
    file = tmp_path / "tsmodel" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    found = list(faults(tmp_path / "tsmodel"))
    assert len(found) == 1
    assert fault in found[0]


def test_imports_for_types_are_allowed_where_listed(tmp_path: Path) -> None:
    file = tmp_path / "tsmodel" / "model" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text("if TYPE_CHECKING:\n    from tsmodel.query import Query")
    assert list(faults(tmp_path / "tsmodel")) == []


def test_late_imports_are_allowed_where_listed(tmp_path: Path) -> None:
    model, store = tmp_path / "tsmodel" / "model", tmp_path / "tsmodel" / "store"
    for room in (model, store):
        room.mkdir(parents=True)
        (room / "x.py").write_text("def f():\n    from tsmodel.query import Query")
    assert [fault.partition(":")[0] for fault in faults(tmp_path / "tsmodel")] == ["store/x.py"]


def test_cycles_are_found(tmp_path: Path) -> None:
    room = tmp_path / "tsmodel" / "keys"
    room.mkdir(parents=True)
    (room / "a.py").write_text("import tsmodel.keys.b")
    (room / "b.py").write_text("import tsmodel.keys.a")
    assert cycles(tmp_path / "tsmodel")


def test_only_io_and_shells_await() -> None:
    package = Path(tsmodel.__file__).parent
    awaiting = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(parsed(path.read_text()))
        if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith))
    }
    assert {name for name in awaiting if not name.startswith(("io/", "testing/", "web/"))} == AWAITING

"""The house: rooms import only rooms above them, and only `io` and what serves know sockets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

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
    "testing",
)
DRIVERS = {
    "cli/checks.py",
    "query/fetching.py",
    "server/listener.py",
    "server/operating.py",
    "server/tls.py",
    "session/flushing.py",
    "session/session_async.py",
    "testing/proxy.py",
}
"""Modules outside of `io` that wait for sockets, threads or tasks themselves."""
AWAITING = {
    "backend.py",
    "client/tstorage.py",
    "client/channel_async.py",
    "query/executor.py",
    "query/fetching.py",
    "query/following.py",
    "query/query_async.py",
    "query/resample.py",
    "query/select.py",
    "session/flushing.py",
    "session/observing.py",
    "session/opening.py",
    "session/session_async.py",
}
"""Modules outside of `io` that await: shells over work, and what has not become one yet."""
IO_MODULES = {"socket", "ssl", "asyncio", "select", "selectors"}
ONLY_FOR_TYPES = {
    ("errors", "backend"),
    ("errors", "keys"),
    ("errors", "model"),
    ("model", "interop"),
    ("model", "query"),
    ("types", "interop"),
    ("types", "layout"),
    ("types", "model"),
}
LATE = {("model", "interop"), ("model", "query")}
"""May be imported inside a function: methods of models that are implemented in rooms which need models."""


def faults(package: Path) -> Iterator[str]:
    """All violations of the house rules in a package's tree."""
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        source = path.read_text()
        room = name.split("/")[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        if room not in ROOMS:
            yield f"{name}: {room} is not a room"
            continue
        tree = ast.parse(source)
        for_types = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for statement in block.body
            for node in ast.walk(statement)
        }
        late = {id(node) for function in functions(tree) for node in ast.walk(function)}
        for node, imported in imports(tree):
            top, _, rest = imported.partition(".")
            if top in IO_MODULES and room != "io" and name not in DRIVERS and id(node) not in for_types:
                yield f"{name}:{node.lineno}: imports {imported}; only io and what serves know sockets"
            if top != package.name:
                continue
            other = rest.split(".")[0]
            if other not in ROOMS:
                yield f"{name}:{node.lineno}: imports {imported}, which is not in a room"
            elif (
                ROOMS.index(other) > ROOMS.index(room)
                and not (id(node) in for_types and (room, other) in ONLY_FOR_TYPES)
                and not (id(node) in late and (room, other) in LATE)
            ):
                yield f"{name}:{node.lineno}: {room} imports {other}, which stands below it"


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node, node.module or ""


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def cycles(package: Path) -> list[list[str]]:
    """Import cycles between modules, without imports that are only for types or late."""
    edges: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text())
        for block in ast.walk(tree):
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
                block.body = [ast.Pass()]
        room = module.split(".")[1] if "." in module else ""
        late = {id(node) for function in functions(tree) for node in ast.walk(function)}
        edges[module] = {
            imported
            for node, imported in imports(tree)
            if id(node) not in late or (room, imported.split(".")[1:2]) not in [(a, [b]) for a, b in LATE]
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
        ("query/x.py", "from tsmodel import Key", "not in a room"),
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
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith))
    }
    assert {name for name in awaiting if not name.startswith(("io/", "testing/", "web/"))} == AWAITING

"""Lazy imports: names load on first use, with what they need and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import tsmodel

ROOT = Path(tsmodel.__file__).parent
LAZY = sorted(
    ".".join(path.relative_to(ROOT.parent).parts[:-1])
    for path in ROOT.rglob("__init__.py")
    if "import lazily" in path.read_text()
)
MODEL = """
from tsmodel import Float32, Int32, TSModel, connect

class Reading(TSModel):
    counter: Int32
    volts: Float32
"""
EMBEDDED = f"""{MODEL}with connect("memory:") as session:
    session.add(Reading(cid=1, mid=2, moid=3, cap=4, counter=5, volts=0.5))
    session.flush()
    assert Reading.query.cid(1).one().counter == 5
"""
SLOW = {
    "asyncio",
    "cattrs",
    "csv",
    "difflib",
    "html",
    "multiprocessing",
    "opentelemetry",
    "pandas",
    "polars",
    "pyarrow",
    "socket",
    "ssl",
}

HEAVY_HELP = ("codegen", "serve")
"""Commands whose help imports other modules: for the names of languages and the limits of the server."""


def loaded(program: str) -> set[str]:
    """Returns the modules that a program loads in a fresh interpreter."""
    here = f"import sys\nsys.path.insert(0, {str(ROOT.parent)!r})\n"
    command = [sys.executable, "-I", "-c", f"{here}{program}\nprint(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_tsmodel_loads_no_submodule_and_no_library() -> None:
    found = loaded("import tsmodel")
    assert {name for name in found if name.startswith("tsmodel")} == {"tsmodel", "tsmodel.lazily"}
    assert not found & (SLOW | {"attr", "msgspec", "numpy", "sqlite3"})


def test_defining_a_model_loads_no_storage_network_or_formats() -> None:
    found = loaded(MODEL.replace(", connect", ""))
    assert not found & (SLOW | {"attr", "html", "logging", "sqlite3", "urllib.parse", "zoneinfo"})
    rooms = {name.split(".")[1] for name in found if name.startswith("tsmodel.")}
    assert not rooms & {"backend", "codegen", "frames", "query", "schema", "server", "session", "store"}


def test_embedded_session_loads_no_network_code() -> None:
    found = loaded(EMBEDDED)
    assert not found & SLOW
    assert not found & {
        "tsmodel.client.tstorage",
        "tsmodel.frames.frame",
        "tsmodel.query.resample",
        "tsmodel.store.maintenance",
    }


def test_command_help_loads_neither_models_nor_numpy() -> None:
    """Runs all commands in one interpreter and names the first that loads one of them."""
    program = f"""
import sys
from tsmodel.cli import main
from tsmodel.cli.commands import COMMANDS

for name, command in COMMANDS.items():
    if command.module not in {HEAVY_HELP}:
        assert main([name, "--help"]) == 0
        found = {{"msgspec", "numpy", "pydantic", "rich", "tsmodel.model", "tsmodel.session"}} & set(sys.modules)
        assert not found, f"{{name}} --help imports {{found}}: import that within the function that needs it"
"""
    assert "tsmodel.cli.reading" in loaded(program)


@pytest.mark.parametrize("package", LAZY)
def test_checkers_and_interpreter_see_the_same_names(package: str) -> None:
    module = import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    for_checkers = {
        alias.asname or alias.name
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_checkers
    assert set(module.__all__) <= for_checkers
    for name in for_checkers:
        assert getattr(module, name) is not None
    assert for_checkers <= set(dir(module))


@pytest.mark.parametrize("package", LAZY)
def test_no_exported_name_is_shadowed_by_a_module(package: str) -> None:
    module = import_module(package)
    folder = Path(str(module.__file__)).parent
    modules = {path.name.removesuffix(".py") for path in folder.iterdir()}
    taken = {
        name for name in set(module.__all__) & modules if getattr(module, name) is not sys.modules[f"{package}.{name}"]
    }
    assert not taken


@pytest.mark.parametrize("package", LAZY)
def test_unknown_name_raises_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'readings'"):
        _ = import_module(package).readings


def test_star_import_has_every_name() -> None:
    names: dict[str, object] = {}
    exec("from tsmodel import *", names)
    assert set(tsmodel.__all__) <= set(names)


def test_submodules_are_reachable_from_tsmodel() -> None:
    parts = ("codegen", "errors", "interop", "schema", "server", "testing")
    assert {f"tsmodel.{part}" for part in parts} <= loaded(f"import tsmodel\nfor part in {parts}: getattr(tsmodel, part)")

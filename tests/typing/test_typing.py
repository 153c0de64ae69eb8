"""What type checkers see of the public surface: the contract passes mypy and pyright as it is written, without a plugin."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import tsmodel

HERE = Path(__file__).parent
CONTRACT = HERE / "typing_contract.py"
PROMISED = HERE / "promised.py"


def promised() -> set[str]:
    """Names of the contract that the stand-ins give."""
    defined = (ast.ClassDef, ast.FunctionDef)
    names = {node.name for node in ast.parse(PROMISED.read_text()).body if isinstance(node, defined)}
    return names & imported()


def imported() -> set[str]:
    imports = (node for node in ast.parse(CONTRACT.read_text()).body if isinstance(node, ast.ImportFrom))
    return {alias.name for node in imports if node.module == "tsmodel" for alias in node.names}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the contract, of which only the import of what is promised is changed."""
    directory = tmp_path_factory.mktemp("typing")
    shutil.copy(PROMISED, directory)
    source = CONTRACT.read_text()
    for name in promised():
        source, found = re.subn(rf"^    {name},\n", "", source, flags=re.MULTILINE)
        assert found == 1
    later = f"from promised import {', '.join(sorted(promised()))}\n" if promised() else ""
    (directory / "contract.py").write_text(source.replace("from tsmodel import (", f"{later}from tsmodel import (", 1))
    return directory


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", *command)
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def test_what_is_promised_is_not_there_yet() -> None:
    assert not promised() & set(tsmodel.__all__)
    assert imported() - promised() <= set(tsmodel.__all__)


@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_mypy(project: Path) -> None:
    done = run("mypy", "--strict", "--warn-unused-ignores", "--config-file=", "contract.py", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright(project: Path) -> None:
    if run("pyright", "--version", cwd=project).returncode:
        pytest.skip("pyright cannot start: it takes Node.js, which it fetches at its first start")
    config = {
        "include": ["contract.py"],
        "typeCheckingMode": "basic",
        "reportUnnecessaryTypeIgnoreComment": True,
    }
    (project / "pyrightconfig.json").write_text(json.dumps(config))
    done = run("pyright", "--project", str(project), "--pythonpath", sys.executable, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_a_broken_contract_is_noticed(project: Path, tmp_path: Path) -> None:
    broken = (project / "contract.py").read_text().replace("assert_type(r.volts, float)", "assert_type(r.volts, int)")
    (tmp_path / "contract.py").write_text(broken)
    shutil.copy(PROMISED, tmp_path)
    done = run("mypy", "--strict", "--config-file=", "contract.py", cwd=tmp_path)
    assert 'Expression is of type "float", not "int"' in done.stdout

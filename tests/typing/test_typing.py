"""The typing contract passes mypy and pyright unchanged, without a plugin."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONTRACT = HERE / "typing_contract.py"
FILES = [
    "contract.py",
    "conversion.py",
    "field_types.py",
    "evolution.py",
    "names.py",
    "operands.py",
    "own_types.py",
    "queries.py",
    "sessions.py",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the contract and the other files to check."""
    directory = tmp_path_factory.mktemp("typing")
    shutil.copy(CONTRACT, directory / "contract.py")
    for name in FILES[1:]:
        shutil.copy(HERE / name, directory)
    return directory


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", *command)
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_mypy(project: Path, pytestconfig: pytest.Config) -> None:
    """One run covers the files that must pass and one that must fail: most of the time goes into NumPy's stubs."""
    broken = (project / "contract.py").read_text().replace("assert_type(r.volts, float)", "assert_type(r.volts, int)")
    (project / "broken.py").write_text(broken)
    cache = Path(pytestconfig.rootpath, ".pytest_cache", "mypy")
    options = ("--strict", "--warn-unused-ignores", "--config-file=", f"--cache-dir={cache}")
    done = run("mypy", *options, *FILES, "broken.py", cwd=project)
    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(lines) == 1, done.stdout + done.stderr
    assert lines[0].startswith("broken.py:")
    assert 'Expression is of type "float", not "int"' in lines[0]
    assert f"(checked {len(FILES) + 1} source files)" in done.stdout


@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright(project: Path) -> None:
    config = {
        "include": FILES,
        "typeCheckingMode": "basic",
        "reportUnnecessaryTypeIgnoreComment": True,
    }
    (project / "pyrightconfig.json").write_text(json.dumps(config))
    done = run("pyright", "--project", str(project), "--pythonpath", sys.executable, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr

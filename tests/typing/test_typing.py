"""What type checkers see of the public surface: every `*_contract.py` here passes mypy and pyright without a plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CONTRACTS = sorted(Path(__file__).parent.glob("*_contract.py"))


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda path: path.name)
def test_mypy(contract: Path, tmp_path: Path) -> None:
    done = run("mypy", "--strict", "--warn-unused-ignores", "--config-file=", str(contract), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda path: path.name)
def test_pyright(contract: Path, tmp_path: Path) -> None:
    if run("pyright", "--version", cwd=tmp_path).returncode:
        pytest.skip("pyright cannot start: it takes Node.js, which it fetches at its first start")
    config = {
        "include": [str(contract)],
        "typeCheckingMode": "basic",
        "reportUnnecessaryTypeIgnoreComment": True,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    done = run("pyright", "--project", str(tmp_path), "--pythonpath", sys.executable, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

"""`tsmodel schema freeze` and `check`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tsmodel.cli import main

MODELS = """
from tsmodel import Float32, Int32, TSModel

class Base(TSModel, abstract=True):
    counter: Int32

class Reading(Base):
    volts: {volts}

class Event(TSModel, moid=9):
    code: Int32
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meter_models.py").write_text(MODELS.format(volts="Float32"))
    yield tmp_path
    sys.modules.pop("meter_models", None)


def changed(project: Path, volts: str) -> None:
    (project / "meter_models.py").write_text(MODELS.format(volts=volts) + "\n")
    sys.modules.pop("meter_models", None)
    for cached in (project / "__pycache__").glob("*"):
        cached.unlink()


def test_freeze_and_check(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "freeze", "meter_models"]) == 0
    assert capsys.readouterr().out == "froze Reading, Event to schema.lock\n"
    assert (project / "schema.lock").exists()
    assert main(["schema", "check", "meter_models"]) == 0
    assert capsys.readouterr().out == "no changes\n"
    changed(project, "Int32")
    assert main(["schema", "check", "meter_models:Reading", "meter_models:Event"]) == 1
    assert "breaking: Reading.volts: Float32 (byte_order little) became Int32" in capsys.readouterr().out


@pytest.mark.parametrize(("allowed", "status"), [("nothing", 1), ("compatible", 0), ("readable-with-upgrade", 0)])
def test_allowed_changes(project: Path, allowed: str, status: int) -> None:
    assert main(["schema", "freeze", "meter_models:Reading", "--lock", "a.json"]) == 0
    assert main(["schema", "check", "meter_models", "--lock", "a.json", "--allow", allowed]) == status


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("meter_modelz", "No module named 'meter_modelz'"),
        ("meter_models:Readin", "no such model"),
        ("meter_models:Base", "no such model"),
        ("json", "the module defines no model"),
    ],
)
def test_unknown_models(project: Path, capsys: pytest.CaptureFixture[str], name: str, message: str) -> None:
    assert main(["schema", "check", name]) == 2
    assert message in capsys.readouterr().err


def test_without_a_lock_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "check", "meter_models:Reading", "--lock", "none.lock"]) == 2
    freeze = "tsmodel schema freeze meter_models:Reading --lock none.lock"
    assert capsys.readouterr().err == f"tsmodel: there is no lock file none.lock; `{freeze}` writes it\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("chek", "meters"), "'chek' is not one of freeze, check; did you mean check?"),
        (("check", "meters", "--lok", "x"), "there is no option --lok; did you mean --lock?"),
        (("check",), "required: MODULE[:MODEL]"),
        (("check", "meters", "--allow", "everything"), "'everything' is not one of nothing, compatible"),
    ],
)
def test_invalid_arguments(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    assert main(["schema", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.endswith("--help shows the arguments)\n")
    assert error.count("\n") == 1

"""Shared fixtures of the command tests: a working directory with a module of models, and a file of readings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Done, Run

from tsmodel import connect, to_ns
from tsmodel.cli import main
from tsmodel.cli.models import models_of

MODELS = """
from enum import IntEnum

from tsmodel import Bool, Date, DateTime, Duration, Enumerated, Float32, Int32, Nullable, Text, TSModel, UInt8, Uuid, field

class State(IntEnum):
    OFF = 0
    ON = 1

class Reading(TSModel, moid=7):
    counter: Int32
    volts: Float32 = field(unit="V")
    state: Enumerated[State] = field(storage=UInt8)
    note: Nullable[str] = field(item=Text, default=None)
"""
START = to_ns("2026-11-01T00:00:00Z")
MINUTE = 60 * 10**9


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module of models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TSMODEL_URL", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "meter_models.py").write_text(MODELS)
    yield tmp_path
    for name in [name for name in sys.modules if name == "meter_models" or name.startswith("tsmodel_cli_")]:
        del sys.modules[name]


@pytest.fixture
def run(work: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Returns a function that runs a command in the working directory."""

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        status = main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return run


@pytest.fixture
def readings(work: Path) -> Path:
    """A file of 200 readings of two meters, one per minute, between 230 and 239 V."""
    path = work / "readings.tsdb"
    (model,) = models_of(["meter_models:Reading"])
    rows = [
        {"cid": 1, "mid": mid, "cap": START + n * MINUTE, "counter": n, "volts": 230 + n % 10, "state": n % 2}
        for mid in (4711, 4712)
        for n in range(100)
    ]
    with connect(path) as session:
        session.add_all(model.from_dict({**row, "note": "odd" if row["state"] else None}) for row in rows)
    return path

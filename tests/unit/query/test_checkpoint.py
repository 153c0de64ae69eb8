"""Checkpoint files: impossible positions are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsmodel.errors import CheckpointError
from tsmodel.query.following import Checkpoint, Position


@pytest.mark.parametrize(("acq", "taken"), [(-(2**63), 0), (2**63 - 1, 7), (0, 2**40)])
def test_positions_are_restored(tmp_path: Path, acq: int, taken: int) -> None:
    checkpoint = Checkpoint(tmp_path / "seen.json", {"query": "q"})
    checkpoint.save(Position(acq, taken))
    assert checkpoint.load() == Position(acq, taken)


@pytest.mark.parametrize(("acq", "taken"), [(-(2**63) - 1, 0), (2**63, 0), (10**30, 0), (0, -1)])
def test_impossible_positions_are_refused(tmp_path: Path, acq: int, taken: int) -> None:
    path = tmp_path / "seen.json"
    path.write_text(json.dumps({"tsmodel_checkpoint": 1, "of": {}, "acq": acq, "taken": taken}))
    with pytest.raises(CheckpointError, match="is damaged|is not a checkpoint"):
        Checkpoint(path, {}).load()


def test_deeply_nested_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    path.write_text('{"other": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        Checkpoint(path, {}).load()

"""A short load run; see `load.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from load import READERS, run


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is what ends the server")
def test_nothing_is_lost_under_load(tmp_path: Path) -> None:
    report = run(connections=60, seconds=2.5, pause=0.05, directory=tmp_path)
    assert report["failures"] == []
    assert (report["lost"], report["twice"]) == (0, 0)
    assert report["records"] > 0
    assert report["log"] == []
    if report["MiB"]["most"]:
        assert report["MiB"]["most"] < report["MiB"]["at rest"] + 150
        assert report["descriptors"]["afterwards"] <= report["descriptors"]["at rest"] + READERS

"""Short runs of the programs in this directory; docs/explanation/reliability.md gives the results of long runs."""

from __future__ import annotations

import sys

import pytest
from support.budget import examples

from fuzz.run import tried
from fuzz.targets import TARGETS

ROUNDS = {"files": 12, "journals": 12, "crafted": 200}


@pytest.mark.skipif(sys.platform == "win32", reason="the damaged files are read under SIGALRM")
@pytest.mark.parametrize("name", TARGETS)
def test_changed_bytes(name: str) -> None:
    rounds = examples(ROUNDS.get(name, 1000))
    count, wrong = tried(TARGETS[name], seed=1, rounds=rounds)
    assert wrong == []
    assert count == rounds

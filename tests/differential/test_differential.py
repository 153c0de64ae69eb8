"""A short run of `runner`; a long one is `python tests/differential/runner.py --minutes 10`."""

from __future__ import annotations

from pathlib import Path

import pytest
from differential.runner import BACKENDS, check_case
from support.budget import is_long


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_answers_are_those_of_other_implementations(backend: str, kind: str, tmp_path: Path) -> None:
    for seed in range(5 if is_long() else 3):
        directory = tmp_path / str(seed)
        directory.mkdir()
        assert check_case(1000 * BACKENDS.index(backend) + seed, backend, kind, directory)

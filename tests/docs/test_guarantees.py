"""Each guarantee names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "guarantees.md").read_text())


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_the_test_of_a_guarantee_is_there(path: str, name: str) -> None:
    assert re.search(rf"^ *(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_every_line_names_a_test() -> None:
    lines = [line for line in (ROOT / "docs" / "guarantees.md").read_text().splitlines() if line.startswith("| ")]
    assert [line for line in lines if "`tests/" not in line and not line.startswith("| guarantee")] == []
    assert NAMED

"""The pages for implementers name modules and rooms that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tsmodel"
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "implementation").glob("*.md"))]
HELPERS = {"__init__", "__main__", "lazily", "forking", "html"}
"""What is no room of its own, or too small to be one."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_named_module_exists(page: Path) -> None:
    named = set(re.findall(r"`([\w./-]+\.py)`", page.read_text()))
    lost = {name for name in named if not (PACKAGE / name).exists() and not (ROOT / name).exists()}
    assert not lost, f"{page.name} names modules that do not exist: say where that code is now"


def test_the_walks_name_modules() -> None:
    text = (ROOT / "docs" / "implementation" / "architecture.md").read_text()
    assert len(set(re.findall(r"`(\w+/\w+\.py)`", text))) > 40


def test_each_room_is_in_the_table() -> None:
    text = (ROOT / "docs" / "implementation" / "architecture.md").read_text()
    table = text.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    described = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    rooms = modules - HELPERS
    assert described == rooms

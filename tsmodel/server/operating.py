"""Running a server: logging, and notifications to systemd."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from contextlib import suppress
from typing import Any, Final

__all__ = ["LEVELS", "notify_systemd", "start_logging"]

LEVELS: Final = ("debug", "info", "warning", "error")


class _Lines(logging.Formatter):
    """Formats each event as one line of text, with an indented traceback.

    Escapes unprintable characters. Parts of a message, such as names in certificates, come from peers, who could otherwise
    forge log lines or send commands to the terminal.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        record.message = _escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return "\n".join(f"    {_escaped(line)}" for line in super().formatException(ei).splitlines())


class _JSONLines(_Lines):
    """Formats each event as a JSON object: time (UTC), level, logger, message and, after an exception, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _escaped(record.getMessage()),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def _escaped(text: str) -> str:
    """The text with unprintable characters escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def start_logging(level: str, form: str) -> None:
    """Logs to stderr.

    Args:
        level: one of `LEVELS`.
        form: "text" or "json".
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JSONLines() if form == "json" else _Lines())
    logging.basicConfig(handlers=[handler], level=level.upper())


def notify_systemd(state: str) -> None:
    """Sends a state such as READY=1 to systemd, if it started this process with a notification socket (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):  # an abstract socket
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(state.encode(), address)

"""How a server is run: its log, and what it tells systemd."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from contextlib import suppress
from typing import Final

__all__ = ["LEVELS", "notify_systemd", "start_logging"]

LEVELS: Final = ("debug", "info", "warning", "error")


class _JSONLines(logging.Formatter):
    """Each event as one line: an object of time (UTC), level, logger, message and, after a fault, its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def start_logging(level: str, form: str) -> None:
    """Logs to stderr.

    Args:
        level: one of `LEVELS`.
        form: "text" or "json".
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JSONLines() if form == "json" else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(handlers=[handler], level=level.upper())


def notify_systemd(state: str) -> None:
    """Tells systemd a state such as READY=1, where it has started this process and wants to know (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):  # not in the file system
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(state.encode(), address)

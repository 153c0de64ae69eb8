"""Error messages of commands: one line with the remedy, in terms of the command line."""

from __future__ import annotations

import codecs
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from tsmodel.errors import ConversionError, QueryError, TSModelError

__all__ = ["Ended", "UsageError", "checked_encoding", "closed_pipe", "existing", "in_words", "told"]

_WORDS: Final = {
    'give ambiguous="earlier" or "later"': "give --ambiguous earlier or later",
    'narrow the query or use .on_error("skip")': "narrow the range by --moid or others, or give --on-error skip",
    "connect() without a target reads the environment variable TSMODEL_URL, which is not set": "no TARGET was given, and "
    "the environment variable TSMODEL_URL is not set",
    "; without read_only and create=False it would be created": "; `put`, `import`, `copy` and `serve` create files",
    "open it once without read_only, and close it": "run `tsmodel compact` on it, or open it once by a process that writes",
    "`tsmodel.store.recover`": "`tsmodel recover`",
    "`python -m tsmodel.store.convert`": "`tsmodel recover`",
    "Copy an open store with session.backup,": "Copy an open store with `tsmodel backup`,",
    "; without read_only and create=0 they would be created, and `tsmodel init` creates": "; `tsmodel init` creates",
    "more; allow more by .max_rows_in_memory(n), or narrow the query": "narrow the range",
    "give encoding=, such as 'cp1252'": "give --encoding, such as cp1252",
}
"""Remedies in terms of the library, and their counterparts on the command line."""


class UsageError(TSModelError):
    """An argument of the command line is not valid."""


class Ended(Exception):  # noqa: N818 - it is no error
    """A command ended early, without a message.

    Attributes:
        status: the exit status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def told(error: Exception) -> tuple[str, int]:
    """The message for an error, and the exit status."""
    show = getattr(error, "format_message", None)  # a usage error of click, which newer versions of typer have within
    if show is not None:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "tsmodel"
        text = re.sub(r" \((Possible.*)\)$", lambda found: f"; {found[1].lower()}", _one_line(show()).rstrip("."))
        return f"{text} ({path} --help shows the arguments)", getattr(error, "exit_code", 2)
    if isinstance(error, UsageError):
        return _one_line(str(error)), 2
    if isinstance(error, ConversionError):
        return in_words(str(error)), 1
    if isinstance(error, TSModelError):
        return in_words(str(error).partition("\n")[0]), 2 if isinstance(error, QueryError) else 1
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror, 1
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; narrow the range", 1
    return f"{type(error).__name__}: {_one_line(str(error))} (--debug shows where)", 1


def in_words(text: str) -> str:
    """A message of the library, in terms of the command line."""
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return text


def existing(file: str, what: str) -> Path:
    """The path of a file, which is `what`."""
    path = Path(file)
    if path.is_dir():
        raise UsageError(f"{file} is a directory; give {what}")
    if not path.exists():
        raise UsageError(f"there is no file {file}")
    return path


def checked_encoding(name: str | None) -> str | None:
    """The encoding with this name, which may be None."""
    with suppress(LookupError):
        codecs.lookup(name or "utf-8")
        return name
    raise UsageError(f"there is no encoding {name!r}; use utf-8, cp1252 or utf-16, for example")


def closed_pipe(error: Exception) -> bool:
    """Whether the reader of the output closed it. If so, nothing more is written to it."""
    if not isinstance(error, BrokenPipeError) or isinstance(error, TSModelError):
        return False
    with suppress(OSError, ValueError, AttributeError):  # a stream in a test has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _one_line(text: str) -> str:
    return " ".join(text.split())

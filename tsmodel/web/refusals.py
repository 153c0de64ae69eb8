"""What the interface answers when something is wrong: what, where, and what to do about it.

Rules kept here:

* Every error is a JSON object of the same form, whoever raised it.
* Nothing of the machine is in it but what a message of tsmodel says: an error that nobody foresaw goes to the log.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from tsmodel.cli.failures import UsageError, in_words
from tsmodel.errors import (
    DecodeError,
    KeyRangeError,
    MissingLibraryError,
    QueryError,
    SchemaError,
    ServerError,
    StoreError,
    TimestampError,
    TransportError,
    TSModelError,
)

__all__ = ["Refused", "Stopped", "refusal_of"]

_log: Final = logging.getLogger("tsmodel.web")


class Refused(TSModelError):  # noqa: N818 - it is what becomes of a request
    """A request that is not answered.

    Attributes:
        what: what is wrong.
        where: the part of the request that it is about.
        remedy: what to do.
        status: the HTTP status.
    """

    def __init__(self, what: str = "", where: str = "", remedy: str = "", status: int = 400) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what = what
        self.where = where
        self.remedy = remedy
        self.status = status


class Stopped(Exception):  # noqa: N818 - nobody is told
    """Nobody waits for the answer any more."""


_KNOWN: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], int, str], ...]] = (
    (
        DecodeError,
        422,
        "choose another model by model=NAME, narrow the range, or leave such records out by on_error=skip",
    ),
    ((UsageError, QueryError, SchemaError, TimestampError, KeyRangeError), 400, "see /api/openapi.json for what is taken"),
    (MissingLibraryError, 501, "install what is missing where tsmodel runs, or ask for another format"),
    ((TransportError, ServerError), 502, "`tsmodel doctor` checks the server; then try again"),
    (StoreError, 500, "`tsmodel verify` says what is wrong with the file"),
    (MemoryError, 503, "narrow the range"),
)
"""Errors with their status and remedy, the first that fits."""


def refusal_of(error: Exception, where: str) -> tuple[int, dict[str, Any]]:
    """The status and the body of the answer to a request that failed.

    Args:
        error: what was raised.
        where: the path that was asked for.
    """
    if isinstance(error, Refused):
        return error.status, _body(error.what, error.where or where, error.remedy)
    for kinds, status, remedy in _KNOWN:
        if isinstance(error, kinds):
            text = in_words(str(error).partition("\n")[0]).replace("--", "") or type(error).__name__
            return status, _body(text, where, remedy)
    _log.error("%s failed", where, exc_info=error)
    return 500, _body(f"{type(error).__name__} in tsmodel itself", where, "the log of `tsmodel ui` has the details")


def _body(what: str, where: str, remedy: str) -> dict[str, Any]:
    return {"error": {"what": what, "where": where, "do": remedy}}

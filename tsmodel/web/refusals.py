"""Error responses of the HTTP API: what is wrong, where in the request, and what to do about it.

Rules kept here:

* A request that cannot be answered raises `Refused`, wherever that turns out.
* Every error is a JSON object of the same form.
* It reveals nothing about this machine beyond messages of tsmodel. Unexpected errors are only logged.
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


class Refused(TSModelError):  # noqa: N818 - it becomes a response
    """A request cannot be answered.

    Attributes:
        what: what is wrong.
        where: the part of the request at fault.
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
    """The client no longer waits for the response."""


_KNOWN: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], int, str], ...]] = (
    (
        DecodeError,
        422,
        "choose another model with model=NAME, narrow the range, or leave such records out with on_error=skip",
    ),
    (
        (UsageError, QueryError, SchemaError, TimestampError, KeyRangeError),
        400,
        "look the parameters up in /api/openapi.json",
    ),
    (MissingLibraryError, 501, "install the library where tsmodel runs, or ask for another format"),
    ((TransportError, ServerError), 502, "check the server with `tsmodel doctor`, then try again"),
    (StoreError, 500, "check the file with `tsmodel verify`"),
    (MemoryError, 503, "narrow the range"),
)
"""Errors with their status and remedy; the first match counts."""


def refusal_of(error: Exception, where: str) -> tuple[int, dict[str, Any]]:
    """The status and body of the response to a request that failed.

    Args:
        error: the exception.
        where: the path of the request.
    """
    if isinstance(error, Refused):
        return error.status, _body(error.what, error.where or where, error.remedy)
    for kinds, status, remedy in _KNOWN:
        if isinstance(error, kinds):
            text = in_words(str(error).partition("\n")[0]).replace("--", "") or type(error).__name__
            return status, _body(text, where, remedy)
    _log.error("%s failed", where, exc_info=error)
    return 500, _body(f"{type(error).__name__} in tsmodel itself", where, "look for the details in the log of `tsmodel ui`")


def _body(what: str, where: str, remedy: str) -> dict[str, Any]:
    return {"error": {"what": what, "where": where, "do": remedy}}

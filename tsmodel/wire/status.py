"""Commands and status codes of the TStorage protocol."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Command", "Status", "describe"]


class Command(IntEnum):
    """What a request asks for."""

    GET = 1
    PUT = 5
    PUTA = 6
    GETACQ = 7


class Status(IntEnum):
    """What an answer's header says: OK, or an error of the server."""

    OK = 0
    ERROR = -1
    INVARG = -2
    RETRY = -3
    TIMEOUT = -4
    NOMEM = -5
    IOERR = -6
    NOPERM = -7
    NOIMPL = -8
    ABORT = -9
    UNAUTHORIZED = -11
    INACTIVE = -12


_MEANINGS = {
    Status.ERROR: "the server could not do it",
    Status.INVARG: "the request is not valid",
    Status.RETRY: "try again",
    Status.TIMEOUT: "the server ran out of time",
    Status.NOMEM: "the server is out of memory",
    Status.IOERR: "the server could not read or write its storage",
    Status.NOPERM: "not permitted",
    Status.NOIMPL: "the server does not know this command",
    Status.ABORT: "the server gave the request up",
    Status.UNAUTHORIZED: "not authorized",
    Status.INACTIVE: "the server is not active",
}


def describe(status: int) -> str:
    """A status in words.

    >>> describe(-3)
    'RETRY (-3): try again'
    """
    if status == Status.OK:
        return "OK (0)"
    if status not in _MEANINGS:
        return f"status {status}, which this client does not know"
    known = Status(status)
    return f"{known.name} ({status}): {_MEANINGS[known]}"

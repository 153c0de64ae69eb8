"""Commands, statuses, and events: the requests a server receives and the answers a client receives."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from tsmodel.keys import Key
from tsmodel.wire.records import WholeRecords

__all__ = [
    "AcqAnswer",
    "Command",
    "GetAcqRequest",
    "GetRequest",
    "PutAnswer",
    "PutBegin",
    "PutEnd",
    "PutRecords",
    "RangeEnd",
    "Refusal",
    "Status",
    "describe",
]


class Command(IntEnum):
    """The command of a request."""

    GET = 1
    PUT = 5
    PUTA = 6
    GETACQ = 7


class Status(IntEnum):
    """The status of an answer: OK, or a server error."""

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
    Status.ERROR: "the server failed",
    Status.INVARG: "the request is invalid",
    Status.RETRY: "try again",
    Status.TIMEOUT: "the server ran out of time",
    Status.NOMEM: "the server is out of memory",
    Status.IOERR: "the server could not read or write its storage",
    Status.NOPERM: "not permitted",
    Status.NOIMPL: "the server does not know this command",
    Status.ABORT: "the server aborted the request",
    Status.UNAUTHORIZED: "not authorized",
    Status.INACTIVE: "the server is not active",
}


def describe(status: int) -> str:
    """A status in words.

    >>> describe(-3)
    'RETRY (-3): try again'
    >>> describe(int.from_bytes(b"HTTP", "little"))
    "it answers in text, 'HTTP', so it is not a TStorage server; check the port"
    """
    if status == Status.OK:
        return "OK (0)"
    if status not in _MEANINGS:
        data = status.to_bytes(4, "little", signed=True) if -(2**31) <= status < 2**31 else b""
        if data.isascii() and (text := data.decode("ascii")).isprintable() and text:
            return f"it answers in text, {text!r}, so it is not a TStorage server; check the port"
        return f"status {status}, which this client does not know"
    known = Status(status)
    return f"{known.name} ({status}): {_MEANINGS[known]}"


class GetRequest(msgspec.Struct, frozen=True):
    """Asks for the records of a key range. Its keys are unchecked."""

    key_min: Key
    key_max: Key


class GetAcqRequest(msgspec.Struct, frozen=True):
    """Asks for the last acq of a key range. Its keys are unchecked."""

    key_min: Key
    key_max: Key


class PutBegin(msgspec.Struct, frozen=True):
    """A PUT begins, or a PUTA if `with_acq`."""

    with_acq: bool


class PutRecords(msgspec.Struct, frozen=True):
    """Whole records of a put, all of one cid. The view is valid until the reader's next buffer is requested."""

    cid: int
    records: memoryview
    found: WholeRecords


class PutEnd(msgspec.Struct, frozen=True):
    """A put has arrived completely, including its end guard."""


class RangeEnd(msgspec.Struct, frozen=True):
    """A GET answer is complete.

    Attributes:
        acq: last full-commit acq of the range, at most its upper bound.
    """

    acq: int


class AcqAnswer(msgspec.Struct, frozen=True):
    """The answer to GETACQ."""

    acq: int


class PutAnswer(msgspec.Struct, frozen=True):
    """A put is stored; its records have acqs in this interval."""

    acq_min: int
    acq_max: int


class Refusal(msgspec.Struct, frozen=True):
    """The server answers with an error status. The connection must be closed.

    Attributes:
        status: the error status; see `Status` and `describe`.
        before_records: whether it comes before the records of a GET.
    """

    status: int
    before_records: bool = False

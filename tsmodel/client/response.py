"""The results of a channel's calls.

Rules kept here:

* The fields of the official client's responses come first, in its order. Only they are compared.
* No response has an attribute `key`, by which programs tell records from responses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from tsmodel.client.record import Key, Record

__all__ = ["Response", "ResponseAcq", "ResponseGet", "ResponseStatus"]

T = TypeVar("T")


class ResponseStatus(IntEnum):
    """The outcome of a call. True if it succeeded."""

    OK = 0
    ERROR = -1
    DISCONNECTED = 128
    BAD_REQUEST = 129
    UNPARSEABLE_ENTITY = 130
    NO_MEMORY = 131

    def is_ok(self) -> bool:
        """Whether the call succeeded."""
        return self is ResponseStatus.OK

    def __bool__(self) -> bool:
        return self.is_ok()


@dataclass(frozen=True)
class Response:
    """The outcome of a call, and its details.

    Attributes:
        status: OK, or the kind of failure.
        error: the exception that caused a failure, or None.
        server_status: the error status that the server returned, or None.
        acq_min: least acquisition time assigned by a put, ns since 2001; None without an answer.
        acq_max: greatest acquisition time assigned by a put.
        count: number of records that a put sent.
        skipped: number of invalid records that a put left out, with `skip_invalid`.
        failed_key: key of the record that could not be read or written, or None.
    """

    status: ResponseStatus = ResponseStatus.OK
    error: Exception | None = field(default=None, kw_only=True, compare=False)
    server_status: int | None = field(default=None, kw_only=True, compare=False)
    acq_min: int | None = field(default=None, kw_only=True, compare=False)
    acq_max: int | None = field(default=None, kw_only=True, compare=False)
    count: int = field(default=0, kw_only=True, compare=False)
    skipped: int = field(default=0, kw_only=True, compare=False)
    failed_key: Key | None = field(default=None, kw_only=True, compare=False)

    def is_ok(self) -> bool:
        """Whether the call succeeded."""
        return self.status.is_ok()

    def __bool__(self) -> bool:
        return self.is_ok()


@dataclass(frozen=True)
class ResponseAcq(Response):
    """A response with an acquisition time.

    Attributes:
        acq: records of the range with an acq below it never change again; -1 if the call failed.
    """

    acq: int = -1


@dataclass(frozen=True)
class ResponseGet(ResponseAcq, Generic[T]):
    """A response with records.

    Attributes:
        data: the records; if the call failed, those received before the failure.
    """

    data: list[Record[T]] = field(default_factory=list)

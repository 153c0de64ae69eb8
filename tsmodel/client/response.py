"""What a channel's calls return.

Rules kept here:

* What the official client's responses have comes first, in its order, and alone decides whether two responses are equal.
* No response has an attribute `key`: programs tell records from responses by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from tsmodel.client.record import Key, Record

__all__ = ["Response", "ResponseAcq", "ResponseGet", "ResponseStatus"]

T = TypeVar("T")


class ResponseStatus(IntEnum):
    """How a call went; true when it went well."""

    OK = 0
    ERROR = -1
    DISCONNECTED = 128
    BAD_REQUEST = 129
    UNPARSEABLE_ENTITY = 130
    NO_MEMORY = 131

    def is_ok(self) -> bool:
        """Whether the call went well."""
        return self is ResponseStatus.OK

    def __bool__(self) -> bool:
        return self.is_ok()


@dataclass(frozen=True)
class Response:
    """How a call went, and what is known beyond that.

    Attributes:
        status: OK, or the kind of failure.
        error: the exception behind a failure, or None.
        server_status: the error status that the server answered with, or None.
        acq_min: least acquisition time that a put gave, ns since 2001; None when there was no answer.
        acq_max: greatest one.
        count: records that a put sent.
        skipped: invalid records that a put left out, as it was told to.
        failed_key: the key of the record that could not be read or written, or None.
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
        """Whether the call did what it was asked to."""
        return self.status.is_ok()

    def __bool__(self) -> bool:
        return self.is_ok()


@dataclass(frozen=True)
class ResponseAcq(Response):
    """A response with an acquisition time.

    Attributes:
        acq: records of the range with an acq below it never change again; -1 when the call failed.
    """

    acq: int = -1


@dataclass(frozen=True)
class ResponseGet(ResponseAcq, Generic[T]):
    """A response with records.

    Attributes:
        data: the records; when the call failed, those that came before.
    """

    data: list[Record[T]] = field(default_factory=list)

"""What a channel's calls return."""

from __future__ import annotations

from enum import IntEnum
from typing import Generic, TypeVar

import attrs

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

    def __bool__(self) -> bool:
        return self is ResponseStatus.OK


@attrs.frozen
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
        key: the key of the record that could not be read or written, or None.
    """

    status: ResponseStatus = ResponseStatus.OK
    error: Exception | None = attrs.field(default=None, kw_only=True)
    server_status: int | None = attrs.field(default=None, kw_only=True)
    acq_min: int | None = attrs.field(default=None, kw_only=True)
    acq_max: int | None = attrs.field(default=None, kw_only=True)
    count: int = attrs.field(default=0, kw_only=True)
    skipped: int = attrs.field(default=0, kw_only=True)
    key: Key | None = attrs.field(default=None, kw_only=True)

    def is_ok(self) -> bool:
        """Whether the call did what it was asked to."""
        return bool(self.status)

    def __bool__(self) -> bool:
        return self.is_ok()


@attrs.frozen
class ResponseAcq(Response):
    """A response with an acquisition time.

    Attributes:
        acq: records of the range with an acq below it never change again; -1 when the call failed.
    """

    acq: int = attrs.field(default=-1, kw_only=True)


@attrs.frozen
class ResponseGet(ResponseAcq, Generic[T]):
    """A response with records.

    Attributes:
        data: the records; when the call failed, those that came before.
    """

    data: list[Record[T]] = attrs.field(factory=list, kw_only=True)

"""Answers as a client reads them: one reader for each request, used once.

Every reader ends with an event that says how the request went: RangeEnd, AcqAnswer, PutAnswer, or Refusal. After a Refusal
whatever follows is not looked at: the connection must be closed.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from tsmodel.wire.chunk import RowChunk
from tsmodel.wire.messages import AcqAnswer, PutAnswer, RangeEnd, Refusal
from tsmodel.wire.reading import Parser, Reader
from tsmodel.wire.records import GET_FORM

__all__ = ["GetAcqAnswerReader", "GetAnswerReader", "GetEvent", "PutAnswerReader"]

_SIZE_FIELD: Final = 4
_ACQ: Final = struct.Struct("<q")
_ACQ_PAIR: Final = struct.Struct("<qq")

GetEvent: TypeAlias = RowChunk | RangeEnd | Refusal
"""A chunk is valid until the reader's next buffer is asked for."""


class GetAnswerReader(Reader[GetEvent]):
    """Reads the answer to a GET: chunks, then RangeEnd or Refusal."""

    what = "the answer to a GET"

    def _parse(self) -> Parser[GetEvent, None]:
        status, size = yield from self._header()
        if status:
            self._drop()
            yield Refusal(status, before_records=True)
            return
        yield from self._skip(size)
        while True:
            records, found = self._whole_records(GET_FORM)
            if found.count:
                yield RowChunk(records, found.count, found.record_size, found.offsets)
            if self._next_size(GET_FORM) == 0:
                break
            yield None
        self._buffer.take(_SIZE_FIELD)
        status, size = yield from self._header()
        if status:
            self._drop()
            yield Refusal(status)
            return
        (acq,) = yield from self._values(_ACQ, size)
        yield RangeEnd(acq)


class GetAcqAnswerReader(Reader["AcqAnswer | Refusal"]):
    """Reads the answer to a GETACQ."""

    what = "the answer to a GETACQ"

    def _parse(self) -> Parser[AcqAnswer | Refusal, None]:
        status, size = yield from self._header()
        if status:
            self._drop()
            yield Refusal(status)
            return
        (acq,) = yield from self._values(_ACQ, size)
        yield AcqAnswer(acq)


class PutAnswerReader(Reader["PutAnswer | Refusal"]):
    """Reads the answer to a PUT or PUTA."""

    what = "the answer to a PUT"

    def _parse(self) -> Parser[PutAnswer | Refusal, None]:
        status, size = yield from self._header()
        if status:
            self._drop()
            yield Refusal(status)
            return
        acq_min, acq_max = yield from self._values(_ACQ_PAIR, size)
        yield PutAnswer(acq_min, acq_max)

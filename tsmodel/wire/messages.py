"""What travels, as values: requests as a server sees them, answers as a client sees them."""

from __future__ import annotations

import attrs

from tsmodel.keys import Key
from tsmodel.wire.records import WholeRecords

__all__ = [
    "AcqAnswer",
    "GetAcqRequest",
    "GetRequest",
    "PutAnswer",
    "PutBegin",
    "PutEnd",
    "PutRecords",
    "RangeEnd",
    "Refusal",
]


@attrs.frozen
class GetRequest:
    """Asks for the records of a range; its keys are as they came, valid or not."""

    key_min: Key
    key_max: Key


@attrs.frozen
class GetAcqRequest:
    """Asks for the last acq of a range; its keys are as they came, valid or not."""

    key_min: Key
    key_max: Key


@attrs.frozen
class PutBegin:
    """A put begins: PUTA when `with_acq`."""

    with_acq: bool


@attrs.frozen
class PutRecords:
    """Some whole records of a put, all of one cid. The view is valid until the reader's next buffer is asked for."""

    cid: int
    records: memoryview
    found: WholeRecords


@attrs.frozen
class PutEnd:
    """A put has arrived whole, with the guard at its end."""


@attrs.frozen
class RangeEnd:
    """A GET answer is complete.

    Attributes:
        acq: the range's last full-commit acq, cut to its end.
    """

    acq: int


@attrs.frozen
class AcqAnswer:
    """The answer to GETACQ."""

    acq: int


@attrs.frozen
class PutAnswer:
    """A put is stored, with these acquisition times."""

    acq_min: int
    acq_max: int


@attrs.frozen
class Refusal:
    """The server answers with an error status; the connection is of no more use.

    Attributes:
        status: see `tsmodel.wire.status`.
        before_records: whether it stands where the records of a GET would begin.
    """

    status: int
    before_records: bool = False

"""Reconciliation: which records of a put that was sent and never answered a database holds.

Records are identified by what was sent: cid, key, payload, and acq where it was given. Equal records are counted.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from tsmodel.backend import AcqInterval, Batch
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.session.puts import Put
from tsmodel.session.receipt import Receipt
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.records import PUT_FORM, PUTA_FORM

__all__ = ["Found", "Reconciliation"]

_CID = struct.Struct("<i")
_ACQ = struct.Struct("<q")
_KEYS = {False: struct.Struct("<qiq"), True: struct.Struct("<qiqq")}


class Found(msgspec.Struct, frozen=True):
    """The outcome of a reconciliation.

    Attributes:
        stored: for each object of the put's segment, whether it is stored.
        receipt: of those that are.
    """

    stored: list[bool]
    receipt: Receipt


class Reconciliation:
    """Finds out which records of a put are stored.

    Args:
        put: what was sent.
    """

    def __init__(self, put: Put) -> None:
        self._put = put
        self._form = PUTA_FORM if put.with_acq else PUT_FORM
        self._sent = [[self._identities(batch) for batch in part.batches] for part in put.slices]
        self._missing = Counter(each for batches in self._sent for batch in batches for each in batch)
        self._acqs: list[int] = []

    def box(self, acq_min: int, acq_end: int = LIMITS["acq"].bound) -> KeyRange:
        """The box that holds all of its records, for acqs from `acq_min` to before `acq_end`."""
        bounds = {"acq": (acq_min, acq_end)}
        keys = list(zip(*self._keys(), strict=True))
        for name, values in zip(("cid", "mid", "moid", "cap"), keys, strict=False):
            bounds[name] = (min(values), max(values) + 1)
        return KeyRange.of(**bounds)

    @property
    def acqs(self) -> AcqInterval:
        """Least and greatest acq of records that were sent with their acq."""
        *_, acqs = zip(*self._keys(), strict=True)
        return AcqInterval(min(acqs), max(acqs))

    def feed(self, chunk: Chunk) -> None:
        """Takes records that the database holds."""
        rows, edges = chunk.rows(), [*chunk.offsets().tolist(), chunk.nbytes]
        missing, with_acq = self._missing, self._put.with_acq
        for start, end in pairwise(edges):
            key_end = start + (36 if with_acq else 28)
            identity = bytes(rows[start + 4 : key_end]) + bytes(rows[start + 36 : end])
            if missing.get(identity, 0) > 0:
                missing[identity] -= 1
                self._acqs += _ACQ.unpack_from(rows, start + 28)

    def found(self) -> Found:
        """The outcome, after all chunks."""
        stored = [False] * len(self._put.segment.rows)
        missing = +self._missing
        size = 0
        cids = []
        for part, sent in zip(self._put.slices, self._sent, strict=True):
            positions: dict[int, deque[int]] = {}
            for position, cid in enumerate(part.cids, part.at):
                positions.setdefault(cid, deque()).append(position)
            for batch, identities in zip(part.batches, sent, strict=True):
                # Of equal records, the last ones count as missing.
                for back, identity in enumerate(reversed(identities), 1):
                    position = positions[batch.cid][len(identities) - back]
                    if missing[identity] > 0:
                        missing[identity] -= 1
                    else:
                        stored[position] = True
                        size += len(identity)
                        cids.append(batch.cid)
                for _ in identities:
                    positions[batch.cid].popleft()
        if not cids:
            return Found(stored, Receipt())
        # An identity has the cid in place of the size field: both take four bytes.
        receipt = Receipt(len(cids), min(self._acqs), max(self._acqs), size, cids=range(min(cids), max(cids) + 1))
        return Found(stored, receipt)

    def _identities(self, batch: Batch) -> list[bytes]:
        cid = _CID.pack(batch.cid)
        edges = [*self._form.offsets(batch.records).tolist(), len(batch.records)]
        return [cid + bytes(batch.records[start + 4 : end]) for start, end in pairwise(edges)]

    def _keys(self) -> Iterator[tuple[int, ...]]:
        key = _KEYS[self._put.with_acq]
        for part, sent in zip(self._put.slices, self._sent, strict=True):
            for batch, identities in zip(part.batches, sent, strict=True):
                for identity in identities:
                    yield batch.cid, *key.unpack_from(identity, 4)

"""How often a database holds each record of some puts.

Rules kept here:

* Two records are the same when cid, mid, moid, cap and payload are, and acq where the puts carry it. Equal records are
  counted, within a put and over several.
* Only records whose key may be one of the puts' are looked at.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from tsmodel.keys import LIMITS, KeyRange
from tsmodel.wire.chunk import Batch, Chunk
from tsmodel.wire.records import PUT_FORM, PUTA_FORM

__all__ = ["Copies"]

_CID: Final = struct.Struct("<i")
_ACQ: Final = struct.Struct("<q")
_FIELDS: Final = ("mid", "moid", "cap")
_ACQ_AT: Final = 28
"""Where acq stands in a record in GET form, behind its size field and the key without it."""
_PAYLOAD: Final = 36


class Copies:
    """Counts copies: feed it what a database holds in `boxes()`.

    Args:
        puts: the batches of each put, in PUT form, or in PUTA form `with_acq`.
        with_acq: whether records carry their acq.

    Attributes:
        acq_max: greatest acq of the copies; None when there are none.
    """

    def __init__(self, puts: Sequence[Sequence[Batch]], *, with_acq: bool) -> None:
        self._with_acq = with_acq
        self._form = PUTA_FORM if with_acq else PUT_FORM
        self._puts = puts
        self._identities = [[self._of(batch) for batch in batches] for batches in puts]
        self._sent = Counter(each for put in self._identities for batch in put for each in batch)
        self._found = dict.fromkeys(self._sent, 0)
        self.acq_max: int | None = None

    def acqs(self) -> tuple[int, int]:
        """Least and greatest acq of puts that carry it."""
        found = [_ACQ.unpack_from(each, _ACQ_AT - 4)[0] for each in self._sent]
        return min(found), max(found)

    def boxes(self, acq_min: int, acq_end: int = LIMITS["acq"].bound) -> list[KeyRange]:
        """The key ranges in which copies may be, of acqs from `acq_min` to before `acq_end`: one for each cid."""
        bounds: dict[int, dict[str, tuple[int, int]]] = {}
        for batch in (batch for batches in self._puts for batch in batches):
            headers = self._form.headers(batch.records, self._form.offsets(batch.records))
            if not len(headers):
                continue
            of_cid = bounds.setdefault(batch.cid, {})
            for name in _FIELDS:
                least, most = int(headers[name].min()), int(headers[name].max())
                low, high = of_cid.get(name, (least, most + 1))
                of_cid[name] = (min(low, least), min(max(high, most + 1), LIMITS[name].bound))
        return [KeyRange.of(cid=(cid, cid + 1), acq=(acq_min, acq_end), **of_cid) for cid, of_cid in bounds.items()]

    def feed(self, chunk: Chunk) -> None:
        """Takes records that the database holds."""
        rows, edges = chunk.rows(), [*chunk.offsets().tolist(), chunk.nbytes]
        found, key_end = self._found, _PAYLOAD if self._with_acq else _ACQ_AT
        for start, end in pairwise(edges):
            identity = bytes(rows[start + 4 : start + key_end]) + bytes(rows[start + _PAYLOAD : end])
            if identity in found:
                found[identity] += 1
                (acq,) = _ACQ.unpack_from(rows, start + _ACQ_AT)
                self.acq_max = acq if self.acq_max is None else max(self.acq_max, acq)

    @property
    def is_whole(self) -> bool:
        """Whether there is a copy for each record that was sent."""
        return all(self._found[each] >= count for each, count in self._sent.items())

    @property
    def surplus(self) -> int:
        """For how many of the records there are more copies than were sent."""
        return sum(count for each, count in self._sent.items() if self._found[each] > count)

    @property
    def exact(self) -> int:
        """For how many of the records there are as many copies as were sent."""
        return sum(count for each, count in self._sent.items() if self._found[each] == count)

    def missing(self) -> list[list[Batch]]:
        """For each put the batches of what is missing. Of equal records it is the last that are."""
        left = dict(self._found)
        found = []
        for batches, identities in zip(self._puts, self._identities, strict=True):
            parts = [self._part(batch, each, left) for batch, each in zip(batches, identities, strict=True)]
            found.append([part for part in parts if part is not None])
        return found

    def _of(self, batch: Batch) -> list[bytes]:
        cid = _CID.pack(batch.cid)
        edges = [*self._form.offsets(batch.records).tolist(), len(batch.records)]
        return [cid + bytes(batch.records[start + 4 : end]) for start, end in pairwise(edges)]

    def _part(self, batch: Batch, identities: list[bytes], left: dict[bytes, int]) -> Batch | None:
        """What is missing of a batch; takes what is not from the copies that are left."""
        missing = []
        for at, identity in enumerate(identities):
            if left[identity] > 0:
                left[identity] -= 1
            else:
                missing.append(at)
        if not missing:
            return None
        if len(missing) == len(identities):
            return batch
        edges = [*self._form.offsets(batch.records).tolist(), len(batch.records)]
        spans = [bytes(batch.records[edges[at] : edges[at + 1]]) for at in missing]
        return Batch(batch.cid, memoryview(b"".join(spans)), len(spans), batch.record_size)

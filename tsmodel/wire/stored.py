"""Which records of a put a database already holds: `Unstored` before a put, `Copies` after one whose outcome is unknown.

Rules kept here:

* Records are equal when cid, mid, moid, cap and payload are. `Copies` also compares acq, if the put carries it.
* Of equal records in a put, the first counts as new, and the last as missing.
* Stored records are compared by key first. `Unstored` looks at the payload only if the key may be one of the put's.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.keys import LIMITS, KeyRange
from tsmodel.wire.chunk import Batch, Chunk
from tsmodel.wire.records import PUT_FORM, PUTA_FORM

__all__ = ["Copies", "Unstored", "key_hashes"]

_SERIES_FIELDS: Final = ("mid", "moid", "cap")
_CID_AT: Final = 4
"""Offsets in a record in GET form."""
_ACQ_AT: Final = 28
_PAYLOAD_AT: Final = 36
_FACTORS: Final = tuple(
    np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], np.uint64)
)


class _Given:
    """A batch of a put, and where its records are.

    Attributes:
        starts: start of each record, shape (n,).
        headers: size and key of each record, shape (n,).
    """

    def __init__(self, batch: Batch, *, with_acq: bool) -> None:
        form = PUTA_FORM if with_acq else PUT_FORM
        if batch.record_size:
            self.starts = np.arange(batch.count, dtype=np.int64) * batch.record_size
        else:
            self.starts = form.offsets(batch.records) if batch.offsets is None else batch.offsets
        self.batch = batch
        self.headers = form.headers(batch.records, self.starts)
        self._payload_at = form.header.itemsize

    def hashes(self) -> npt.NDArray[np.uint64]:
        """See `_hashes`."""
        return _hashes(self.batch.cid, self.headers)

    def identities(self, places: Iterable[int], *, with_acq: bool) -> Iterator[bytes]:
        """Yields what identifies some of the records: the key, possibly without acq, and the payload."""
        data, edges = bytes(self.batch.records), [*self.starts.tolist(), len(self.batch.records)]
        cid = struct.pack("<i", self.batch.cid)
        key_end, payload_at = self._payload_at if with_acq else PUT_FORM.header.itemsize, self._payload_at
        for place in places:
            start = edges[place]
            yield cid + data[start + 4 : start + key_end] + data[start + payload_at : edges[place + 1]]

    def part(self, mask: npt.NDArray[np.bool_], batch: Batch | None = None) -> Batch:
        """The chosen records, taken from `batch` if it is given."""
        batch = batch or self.batch
        if mask.all():
            return batch
        edges = [*self.starts.tolist(), len(batch.records)]
        spans = [batch.records[edges[place] : edges[place + 1]] for place in np.flatnonzero(mask).tolist()]
        return Batch(batch.cid, memoryview(b"".join(spans)), len(spans), batch.record_size, payload=batch.payload)


class Unstored:
    """Finds out which records of a put are new: feed it what the database holds in `boxes()`, then call `left_of`.

    Args:
        batches: the records of the put, in PUT form, or in PUTA form if `with_acq`.
        with_acq: whether records carry their acq.
    """

    def __init__(self, batches: Sequence[Batch], *, with_acq: bool) -> None:
        self._given = [_Given(batch, with_acq=with_acq) for batch in batches]
        hashes = np.concatenate([np.empty(0, np.uint64), *(each.hashes() for each in self._given)])
        self._hashes, self._place, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        self._is_doubtful = counts > 1  # for each hash: whether several records may be equal
        self._stored: set[bytes] = set()
        self._is_new: list[npt.NDArray[np.bool_]] | None = None

    def boxes(self) -> list[KeyRange]:
        """The key ranges, over all acqs, that may hold equal records: one per cid."""
        return _boxes(self._given)

    def feed(self, chunk: Chunk) -> None:
        """Takes records that the database holds."""
        if not len(chunk) or not len(self._hashes):
            return
        hashes = _hashes(chunk.key("cid"), {name: chunk.key(name) for name in _SERIES_FIELDS})
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        found = self._hashes[places] == hashes
        if not found.any():
            return
        self._is_doubtful[places[found]] = True
        self._stored.update(_identities(chunk.take(found), with_acq=False))

    def new(self) -> list[npt.NDArray[np.bool_]]:
        """For each batch, a mask of its new records, shape (n,)."""
        if self._is_new is None:
            is_doubtful = self._is_doubtful[self._place]
            ends = np.cumsum([given.batch.count for given in self._given])[:-1]
            self._is_new = list(map(self._compared, self._given, np.split(is_doubtful, ends)))
        return self._is_new

    def left_of(self, batches: Sequence[Batch]) -> list[Batch]:
        """The new records of the put, given its batches once more. Batches without any are left out."""
        each = zip(self._given, self.new(), batches, strict=True)
        return [given.part(mask, batch) for given, mask, batch in each if mask.any()]

    def acqs(self) -> tuple[int, int]:
        """Least and greatest acq of the new records, which must carry it."""
        acqs = np.concatenate([given.headers["acq"][mask] for given, mask in zip(self._given, self.new(), strict=True)])
        return int(acqs.min()), int(acqs.max())

    def _compared(self, given: _Given, is_doubtful: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which records of a batch are new. Only doubtful ones need to be compared byte by byte."""
        is_new = ~is_doubtful
        places = np.flatnonzero(is_doubtful).tolist()
        for place, identity in zip(places, given.identities(places, with_acq=False), strict=True):
            if identity not in self._stored:
                self._stored.add(identity)
                is_new[place] = True
        return is_new


class Copies:
    """Counts how often a database holds each record of some puts: feed it what the database holds in `boxes()`.

    Args:
        puts: the batches of each put, in PUT form, or in PUTA form if `with_acq`.
        with_acq: whether records carry their acq.

    Attributes:
        acq_min: least acq of the copies; None if there are none.
        acq_max: greatest acq of the copies.
    """

    def __init__(self, puts: Sequence[Sequence[Batch]], *, with_acq: bool) -> None:
        self._with_acq = with_acq
        self._puts = [[_Given(batch, with_acq=with_acq) for batch in batches] for batches in puts]
        self._identities = [
            [list(given.identities(range(given.batch.count), with_acq=with_acq)) for given in put] for put in self._puts
        ]
        self._sent = Counter(each for put in self._identities for batch in put for each in batch)
        self._found = dict.fromkeys(self._sent, 0)
        self.acq_min: int | None = None
        self.acq_max: int | None = None

    def acqs(self) -> tuple[int, int]:
        """Least and greatest acq of the puts, whose records must carry it."""
        acqs = np.concatenate([given.headers["acq"] for put in self._puts for given in put])
        return int(acqs.min()), int(acqs.max())

    def boxes(self, acq_min: int, acq_end: int = LIMITS["acq"].bound) -> list[KeyRange]:
        """The key ranges that may hold copies, with acqs from `acq_min` to before `acq_end`: one per cid."""
        return _boxes((given for put in self._puts for given in put), acq=(acq_min, acq_end))

    def feed(self, chunk: Chunk) -> None:
        """Takes records that the database holds."""
        identities = _identities(chunk, with_acq=self._with_acq)
        for identity, acq in zip(identities, chunk.key("acq").tolist(), strict=True):
            if identity in self._found:
                self._found[identity] += 1
                self.acq_min = acq if self.acq_min is None else min(self.acq_min, acq)
                self.acq_max = acq if self.acq_max is None else max(self.acq_max, acq)

    @property
    def is_whole(self) -> bool:
        """Whether every record that was sent is stored."""
        return all(self._found[each] >= count for each, count in self._sent.items())

    @property
    def surplus(self) -> int:
        """How many of the records have more copies than were sent."""
        return sum(count for each, count in self._sent.items() if self._found[each] > count)

    @property
    def exact(self) -> int:
        """How many of the records have exactly as many copies as were sent."""
        return sum(count for each, count in self._sent.items() if self._found[each] == count)

    @property
    def size(self) -> int:
        """Bytes of the records that are stored, as they were sent."""
        # An identity holds the cid instead of the size field, which is as long.
        return sum(len(each) * min(self._found[each], count) for each, count in self._sent.items())

    def stored(self) -> list[list[npt.NDArray[np.bool_]]]:
        """For each batch of each put, a mask of its records that are stored, shape (n,)."""
        left = dict(self._found)
        return [[_used(each, left) for each in put] for put in self._identities]

    def missing(self) -> list[list[Batch]]:
        """The missing records of each put."""
        return [
            [given.part(~mask) for given, mask in zip(put, masks, strict=True) if not mask.all()]
            for put, masks in zip(self._puts, self.stored(), strict=True)
        ]


def key_hashes(batches: Sequence[Batch]) -> npt.NDArray[np.uint64]:
    """A hash of the key of each record in PUT form, shape (n,); equal keys have equal hashes."""
    return np.concatenate([np.empty(0, np.uint64), *(_Given(batch, with_acq=False).hashes() for batch in batches)])


def _boxes(given: Iterable[_Given], **acq: tuple[int, int]) -> list[KeyRange]:
    """The bounds of the keys of some batches, as one box per cid."""
    bounds: dict[int, dict[str, tuple[int, int]]] = {}
    for each in given:
        if each.batch.count:
            of_cid = bounds.setdefault(each.batch.cid, {})
            for name in _SERIES_FIELDS:
                least, most = int(each.headers[name].min()), int(each.headers[name].max())
                low, high = of_cid.get(name, (least, most + 1))
                of_cid[name] = (min(low, least), min(max(high, most + 1), LIMITS[name].bound))
    return [KeyRange.of(cid=(cid, cid + 1), **acq, **of_cid) for cid, of_cid in bounds.items()]


def _identities(chunk: Chunk, *, with_acq: bool) -> list[bytes]:
    """What identifies each record of a chunk; see `_Given.identities`."""
    rows, edges = bytes(chunk.rows()), [*chunk.offsets().tolist(), chunk.nbytes]
    key_end = _PAYLOAD_AT if with_acq else _ACQ_AT
    return [rows[start + _CID_AT : start + key_end] + rows[start + _PAYLOAD_AT : end] for start, end in pairwise(edges)]


def _used(identities: list[bytes], left: dict[bytes, int]) -> npt.NDArray[np.bool_]:
    """Which of the records have a copy in `left`, shape (n,); takes the copies from it."""
    used = np.zeros(len(identities), np.bool_)
    for at, identity in enumerate(identities):
        if left[identity] > 0:
            left[identity] -= 1
            used[at] = True
    return used


def _hashes(cid: int | npt.NDArray[Any], keys: Any) -> npt.NDArray[np.uint64]:
    """A hash of each key without its acq, shape (n,)."""
    mixed: npt.NDArray[np.uint64] = np.asarray(cid).astype(np.uint64) * _FACTORS[3]
    for name, factor in zip(_SERIES_FIELDS, _FACTORS, strict=False):
        mixed = (mixed ^ (mixed >> np.uint64(29))) + keys[name].astype(np.uint64) * factor
    mixed ^= mixed >> np.uint64(32)
    return mixed

"""Which records of a put a database does not hold yet.

Rules kept here:

* Two records are the same when cid, mid, moid, cap and payload are, whatever their acq. Of equal records in a put the first
  is new.
* Only stored records whose key may be one of the put's are looked at; the payloads of others are never decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.keys import LIMITS, KeyRange
from tsmodel.wire.chunk import Batch, Chunk
from tsmodel.wire.records import PUT_FORM, PUTA_FORM

__all__ = ["Unstored", "key_hashes"]

_CID: Final = struct.Struct("<i")
_SERIES_FIELDS: Final = ("mid", "moid", "cap")
_KEY_END: Final = 28
"""Where cap ends in a record in GET form; mid begins at 8."""
_PAYLOAD: Final = 36
_FACTORS: Final = tuple(
    np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], np.uint64)
)


class Unstored:
    """Which records of a put are new: feed it what a database holds in `boxes()`, then take what is `left_of` the batches.

    Args:
        batches: what the put carries, in PUT form, or in PUTA form `with_acq`.
        with_acq: whether records carry their acq.
    """

    def __init__(self, batches: Sequence[Batch], *, with_acq: bool) -> None:
        self._given = list(batches)
        form = PUTA_FORM if with_acq else PUT_FORM
        self._starts = [_starts(batch, with_acq) for batch in self._given]
        self._headers = [
            form.headers(batch.records, starts) for batch, starts in zip(self._given, self._starts, strict=True)
        ]
        self._payload_at = form.header.itemsize
        each = [_hashes(batch.cid, headers) for batch, headers in zip(self._given, self._headers, strict=True)]
        hashes = np.concatenate(each) if each else np.empty(0, np.uint64)
        self._hashes, self._place, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        self._is_doubtful = counts > 1  # for each hash: whether several records may be the same
        self._stored: set[bytes] = set()
        self._is_new: list[npt.NDArray[np.bool_]] | None = None

    def boxes(self) -> list[KeyRange]:
        """The key ranges, of all acqs, in which the same records may be: one for each cid."""
        bounds: dict[int, dict[str, tuple[int, int]]] = {}
        for batch, headers in zip(self._given, self._headers, strict=True):
            if len(headers):
                of_cid = bounds.setdefault(batch.cid, {})
                for name in _SERIES_FIELDS:
                    least, most = int(headers[name].min()), int(headers[name].max())
                    low, high = of_cid.get(name, (least, most + 1))
                    of_cid[name] = (min(low, least), min(max(high, most + 1), LIMITS[name].bound))
        return [KeyRange.of(cid=(cid, cid + 1), **of_cid) for cid, of_cid in bounds.items()]

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
        near = chunk.take(found)
        rows, edges = bytes(near.rows()), [*near.offsets().tolist(), near.nbytes]
        self._stored.update(
            [rows[start + 4 : start + _KEY_END] + rows[start + _PAYLOAD : end] for start, end in pairwise(edges)]
        )

    def new(self) -> list[npt.NDArray[np.bool_]]:
        """For each batch a mask over its records, shape (n,): which are new."""
        if self._is_new is None:
            is_doubtful = self._is_doubtful[self._place]
            ends = np.cumsum([batch.count for batch in self._given])[:-1]
            self._is_new = [self._looked_at(at, doubtful) for at, doubtful in enumerate(np.split(is_doubtful, ends))]
        return self._is_new

    def left_of(self, batches: Sequence[Batch]) -> list[Batch]:
        """What is new of the put's batches, given once more; one with nothing new is left out."""
        pairs = zip(batches, self._starts, self.new(), strict=True)
        return [_part(batch, starts, mask) for batch, starts, mask in pairs if mask.any()]

    def acqs(self) -> tuple[int, int]:
        """Least and greatest acq of what is new, of records that carry theirs."""
        pairs = zip(self._headers, self.new(), strict=True)
        acqs = np.concatenate([headers["acq"][mask] for headers, mask in pairs])
        return int(acqs.min()), int(acqs.max())

    def _looked_at(self, at: int, is_doubtful: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which records of a batch are new. What was not fed, and is alone of its key, surely is."""
        batch, after_key, starts = self._given[at], self._payload_at, self._starts[at]
        is_new = ~is_doubtful
        places = np.flatnonzero(is_doubtful)
        ends = np.append(starts[1:], len(batch.records))
        records, cid, stored = bytes(batch.records), _CID.pack(batch.cid), self._stored
        for place, start, end in zip(places.tolist(), starts[places].tolist(), ends[places].tolist(), strict=True):
            identity = cid + records[start + 4 : start + 24] + records[start + after_key : end]
            if identity not in stored:
                stored.add(identity)
                is_new[place] = True
        return is_new


def key_hashes(batches: Sequence[Batch]) -> npt.NDArray[np.uint64]:
    """A number for the key of each record in PUT form, shape (n,); equal keys have equal numbers."""
    headers = [PUT_FORM.headers(batch.records, _starts(batch, with_acq=False)) for batch in batches]
    found = [_hashes(batch.cid, each) for batch, each in zip(batches, headers, strict=True)]
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def _starts(batch: Batch, with_acq: bool) -> npt.NDArray[np.int64]:
    if batch.record_size:
        return np.arange(batch.count, dtype=np.int64) * batch.record_size
    if batch.offsets is not None:
        return batch.offsets
    return (PUTA_FORM if with_acq else PUT_FORM).offsets(batch.records)


def _part(batch: Batch, starts: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]) -> Batch:
    if mask.all():
        return batch
    edges = [*starts.tolist(), len(batch.records)]
    spans = [batch.records[edges[place] : edges[place + 1]] for place in np.flatnonzero(mask).tolist()]
    return Batch(batch.cid, memoryview(b"".join(spans)), len(spans), batch.record_size, payload=batch.payload)


def _hashes(cid: int | npt.NDArray[Any], keys: Any) -> npt.NDArray[np.uint64]:
    """A number for each key, without its acq, shape (n,); equal keys have equal numbers."""
    mixed: npt.NDArray[np.uint64] = np.asarray(cid).astype(np.uint64) * _FACTORS[3]
    for name, factor in zip(_SERIES_FIELDS, _FACTORS, strict=False):
        mixed = (mixed ^ (mixed >> np.uint64(29))) + keys[name].astype(np.uint64) * factor
    mixed ^= mixed >> np.uint64(32)
    return mixed

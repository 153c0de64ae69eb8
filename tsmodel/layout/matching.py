"""Which records of a chunk match a layout, a model, or a version of it, and what becomes of those that do not.

Rules kept here:

* Two discriminators are disjoint when no record can meet both. A reader of several kinds of records checks that for every
  pair beforehand; then at most one of them matches a record, whatever its bytes are.
* Records are split a chunk at a time, by NumPy. A chunk whose records are all of one kind is not copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np

from tsmodel.keys import Key
from tsmodel.layout.placing import Layout
from tsmodel.timestamps import to_iso
from tsmodel.types.field_faults import FieldFault, Mask
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.records import GET_FORM

__all__ = ["SIZE_FIELD", "Discriminator", "Fit", "Mismatch", "Refusal", "fit", "mismatches_of", "payload_sizes", "split_by"]


SIZE_FIELD: Final = "_size"
"""Name of a record's size field in structured arrays; no field of a model may begin with an underscore."""


class Mismatch(msgspec.Struct, frozen=True):
    """A record whose payload does not match the layout.

    Attributes:
        key: its key.
        payload: its payload.
        fault: which field is at fault, where, and why; None when the payload does not have the layout's size.
    """

    key: Key
    payload: bytes
    fault: FieldFault | None = None


class Fit(msgspec.Struct, frozen=True):
    """A chunk, divided into records that match the layout and mismatches.

    Attributes:
        records: the n records that match, indexed by a field's name, a slice or a mask. Of a layout of fixed size they
            have the fields `_size`, the key fields and the payload's fields: a structured array, shape (n,), which is a
            view where all fit; or `ColumnRecords` of a chunk of columns.
        mismatches: the other records.
    """

    records: Any
    mismatches: tuple[Mismatch, ...] = ()


def fit(chunk: Chunk, dtype: np.dtype[Any]) -> Fit:
    """Divides a chunk into records of a dtype and records of another size.

    Args:
        chunk: the records.
        dtype: of a whole record, size field included.
    """
    if chunk.record_size == dtype.itemsize:
        return Fit(chunk.records(dtype))
    fits = chunk.sizes() == dtype.itemsize
    return Fit(chunk.take(fits).records(dtype), mismatches_of(chunk.take(~fits)))


def mismatches_of(chunk: Chunk, fault: FieldFault | None = None) -> tuple[Mismatch, ...]:
    """The records of a chunk as mismatches."""
    return tuple(Mismatch(key, payload, fault) for key, payload in chunk.pairs())


_HEADER: Final = GET_FORM.header.itemsize


class Refusal(FieldFault):
    """A payload that no version of a model, or no model, matches; `why` is the complete reason."""


class Discriminator(msgspec.Struct, frozen=True):
    """Which records belong to a model, or to a version of it.

    Attributes:
        model: its name.
        least: fewest bytes of a payload.
        most: most bytes of a payload; None if there is no limit.
        version: value of the version byte; None when there is none.
        keys: key components that are the same in all records, by name.
        since: least capture time; None when there is none.
        until: capture time from which on records belong to another version; None if there is none.
    """

    model: str
    least: int
    most: int | None
    version: int | None = None
    keys: Mapping[str, int] = msgspec.field(default_factory=dict)
    since: int | None = None
    until: int | None = None

    def is_disjoint(self, other: Discriminator) -> bool:
        """Whether no record can match both."""
        return (
            any(other.keys.get(name, value) != value for name, value in self.keys.items())
            or (None not in (self.version, other.version) and self.version != other.version)
            or (self.most is not None and self.most < other.least)
            or (other.most is not None and other.most < self.least)
            or (self.until is not None and other.since is not None and self.until <= other.since)
            or (other.until is not None and self.since is not None and other.until <= self.since)
        )

    @property
    def size(self) -> str:
        """Its bytes, in words."""
        if self.most == self.least:
            return f"{self.least} bytes"
        return f"{self.least} bytes or more" if self.most is None else f"{self.least} to {self.most} bytes"

    def __str__(self) -> str:
        parts = [self.size]
        if self.version is not None:
            parts.append(f"the first of them {self.version}")
        parts += [f"{name} {value}" for name, value in self.keys.items()]
        if self.since is not None:
            parts.append(f"captured at {to_iso(self.since)} or later")
        if self.until is not None:
            parts.append(f"captured before {to_iso(self.until)}")
        return f"{self.model} takes {', '.join(parts)}"


def payload_sizes(layout: Layout) -> tuple[int, int | None]:
    """Fewest and most bytes of a payload; the most is None if there is no limit."""
    return layout.least_size, layout.size


def _begins_with(chunk: Chunk, first: int) -> Mask:
    """Which payloads begin with a byte of this value; shape (n,)."""
    mask: Mask = chunk.sizes() > _HEADER if chunk.record_size <= _HEADER else np.ones(len(chunk), np.bool_)
    mask[mask] = chunk.take(mask).column(0, np.dtype(np.uint8)) == first
    return mask


def _matching(chunk: Chunk, discriminator: Discriminator, keys: bool) -> Mask | np.bool_:
    """Which records a discriminator matches: one bool per record, shape (n,), or one for all of them."""
    sizes = np.int64(chunk.record_size) if chunk.record_size else chunk.sizes()
    mask: Any = sizes >= discriminator.least + _HEADER
    if discriminator.most is not None:
        mask = mask & (sizes <= discriminator.most + _HEADER)
    if discriminator.version is not None:
        mask = mask & _begins_with(chunk, discriminator.version)
    if discriminator.since is not None:
        mask = mask & (chunk.key("cap") >= discriminator.since)
    if discriminator.until is not None:
        mask = mask & (chunk.key("cap") < discriminator.until)
    for name, value in discriminator.keys.items() if keys else ():
        mask = mask & (chunk.key(name) == value)
    return mask  # type: ignore[no-any-return]


def split_by(
    chunk: Chunk, groups: Sequence[Sequence[Discriminator]], what: str, *, keys: bool = False
) -> tuple[list[Chunk], tuple[Mismatch, ...]]:
    """Splits a chunk into one chunk per group of discriminators, and the records that no discriminator matches.

    Args:
        chunk: the records.
        groups: discriminators, of which every two are disjoint.
        what: what the groups are of, for messages.
        keys: whether to compare the key components that discriminators name.
    """
    left = np.ones(len(chunk), np.bool_)
    chunks = []
    for group in groups:
        mask = np.zeros(len(chunk), np.bool_)
        for discriminator in group:
            mask |= _matching(chunk, discriminator, keys)
        left &= ~mask
        chunks.append(chunk.take(mask))
    if not left.any():
        return chunks, ()
    why = f"{what} has no such records: " + "; ".join(map(str, chain.from_iterable(groups)))
    return chunks, mismatches_of(chunk.take(left), Refusal(why))

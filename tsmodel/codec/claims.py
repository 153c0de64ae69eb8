"""What tells records of one model, or of one version of it, from those of another.

Rules kept here:

* Two claims are apart when no record can meet both. Whoever reads several kinds of records asks that of every two of their
  claims beforehand; then at most one of them fits a record, whatever its bytes are.
* Records are sorted by claims a chunk at a time, by NumPy. A chunk that is of one kind as a whole is not copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.field import FieldCodec, FieldFault, Mask
from tsmodel.codec.fitting import Misfit
from tsmodel.codec.layout import Layout
from tsmodel.codec.lengths import LengthCodec
from tsmodel.codec.nested import VariableNestedCodec
from tsmodel.codec.nullable import NullableCodec
from tsmodel.keys import unpack_key
from tsmodel.timestamps import to_iso
from tsmodel.wire.records import GET_FORM, octets_of

__all__ = ["Claim", "Refusal", "payload_sizes", "sorted_by"]

_HEADER: Final = GET_FORM.header.itemsize


class Refusal(FieldFault):
    """A payload that no version of a model, or no model, takes as its own; `why` says all there is to say."""


@attrs.frozen
class Claim:
    """The records that a model, or a version of it, takes as its own.

    Attributes:
        model: its name.
        least: fewest bytes of a payload.
        most: most bytes of a payload; None when there is no end to it.
        version: value of the version byte; None when there is none.
        keys: key components that are the same in all records, by name.
        since: least capture time; None when there is none.
        until: capture time at which other records begin; None when they never do.
    """

    model: str
    least: int
    most: int | None
    version: int | None = None
    keys: Mapping[str, int] = attrs.field(factory=dict)
    since: int | None = None
    until: int | None = None

    def is_apart(self, other: Claim) -> bool:
        """Whether no record can meet both."""
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
    """Fewest and most bytes of a payload; None as the most where there is no end to it."""
    if layout.size is not None:
        return layout.size, layout.size
    if not layout.parts:
        return layout.leading + 1, None  # a message
    gaps = sum(slot.gap for slot in layout.slots) + layout.tail
    fixed = sum(slot.codec.size if slot.codec else layout.bitmap for slot in layout.slots)
    variable = sum(_least(field.codec) for field in layout.fields if field.size is None)
    return layout.leading + gaps + fixed + variable, None


def _least(codec: FieldCodec) -> int:
    if isinstance(codec, VariableNestedCodec):
        return payload_sizes(codec.layout)[0]
    if isinstance(codec, LengthCodec) and codec.prefix is not None:
        return codec.prefix.size
    assert isinstance(codec, (LengthCodec, NullableCodec)), codec
    return 0


class _Records:
    """The records of a chunk, looked at from outside."""

    def __init__(self, chunk: memoryview) -> None:
        whole = GET_FORM.whole_records(chunk)
        if whole.end != len(chunk):
            raise GET_FORM.fault(chunk, whole.end)
        self._chunk = chunk
        self.count = whole.count
        self.same_size = whole.record_size
        self._octets = np.frombuffer(chunk, np.uint8)
        if self.same_size:
            self._starts = np.empty(0, np.int64)
            self.sizes: int | npt.NDArray[np.int64] = self.same_size - _HEADER
        else:
            self._starts = GET_FORM.offsets(chunk)
            self.sizes = np.diff(self._starts, append=len(chunk)) - _HEADER

    def column(self, name: str) -> npt.NDArray[Any]:
        """A key component of each, shape (n,)."""
        fields = GET_FORM.header.fields
        assert fields is not None
        kind, offset, *_ = fields[name]
        if self.same_size:
            strided: npt.NDArray[Any] = np.ndarray(self.count, kind, self._chunk, offset, (self.same_size,))
            return strided
        places = self._starts[:, None] + np.arange(offset, offset + kind.itemsize)
        gathered: npt.NDArray[Any] = self._octets[places].view(kind).reshape(-1)
        return gathered

    def begins_with(self, octet: int) -> Mask:
        """Which payloads begin with a byte of this value; shape (n,)."""
        mask: Mask
        if self.same_size:
            if self.same_size == _HEADER:
                return np.zeros(self.count, np.bool_)
            mask = np.ndarray(self.count, np.uint8, self._chunk, _HEADER, (self.same_size,)) == octet
        else:
            firsts = self._octets[np.minimum(self._starts + _HEADER, len(self._octets) - 1)]
            mask = (firsts == octet) & (self.sizes > 0)
        return mask

    def meeting(self, claim: Claim, keys: bool) -> Mask | np.bool_:
        """Which of them a claim fits: for each, shape (n,), or for all at once."""
        mask: Any = np.bool_(True)
        mask &= self.sizes >= claim.least if claim.most != claim.least else self.sizes == claim.least
        if claim.most not in (None, claim.least):
            mask = mask & (self.sizes <= claim.most)
        if claim.version is not None:
            mask = mask & self.begins_with(claim.version)
        if claim.since is not None:
            mask = mask & (self.column("cap") >= claim.since)
        if claim.until is not None:
            mask = mask & (self.column("cap") < claim.until)
        for name, value in claim.keys.items() if keys else ():
            mask = mask & (self.column(name) == value)
        return mask  # type: ignore[no-any-return]

    def taken(self, mask: Mask) -> memoryview:
        """Those that a mask of shape (n,) picks, as a chunk."""
        if mask.all():
            return self._chunk
        if self.same_size:
            return octets_of(np.frombuffer(self._chunk, f"V{self.same_size}")[mask])
        ends = np.append(self._starts[1:], len(self._chunk))
        starts, ends = self._starts[mask], ends[mask]
        sizes = ends - starts
        if len(sizes) and (sizes == sizes[0]).all():
            return octets_of(self._octets[starts[:, None] + np.arange(sizes[0])].reshape(-1))
        return memoryview(b"".join(map(self._chunk.__getitem__, map(slice, starts.tolist(), ends.tolist()))))


def sorted_by(
    chunk: memoryview, groups: Sequence[Sequence[Claim]], what: str, *, keys: bool = False
) -> tuple[list[memoryview], tuple[Misfit, ...]]:
    """The records of a chunk, one chunk for each group of claims; and those that no claim fits.

    Args:
        chunk: whole records in GET form.
        groups: claims, every two of them apart.
        what: what the groups are of, for messages.
        keys: whether the key components that claims name are to be looked at.

    Raises:
        RemoteProtocolError: when the chunk does not consist of whole records.
    """
    records = _Records(chunk)
    left = np.ones(records.count, np.bool_)
    chunks = []
    for claims in groups:
        mask = np.zeros(records.count, np.bool_)
        for claim in claims:
            mask |= records.meeting(claim, keys)
        left &= ~mask
        chunks.append(records.taken(mask) if mask.any() else chunk[:0])
    if not left.any():
        return chunks, ()
    why = f"{what} has no such records: " + "; ".join(str(claim) for claims in groups for claim in claims)
    rest, misfits, at = bytes(records.taken(left)), [], 0
    while at < len(rest):
        end = at + 4 + int.from_bytes(rest[at : at + 4], "little")
        misfits.append(Misfit(unpack_key(rest[at + 4 : at + _HEADER]), rest[at + _HEADER : end], Refusal(why)))
        at = end
    return chunks, tuple(misfits)

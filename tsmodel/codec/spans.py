"""Payloads of variable size as columns: where each field lies in each record is found by adding up columns of lengths.

Rules kept here:

* No Python code runs per record. A chunk in which anything is not as it should be is left to those who read record by
  record and say what is wrong: `spans_of` gives None.
* Fields of fixed width are gathered into a structured array, which is checked as records of fixed size are.
"""

from __future__ import annotations

from itertools import starmap
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec.layout import Layout, LayoutField, Slot
from tsmodel.keys import KEY_FIELDS
from tsmodel.types.base import MARKS
from tsmodel.wire.chunk import gathered
from tsmodel.wire.records import GET_FORM

__all__ = ["SpanRecords", "has_spans", "spans_of"]

Places = npt.NDArray[np.int64]

_HEADER = GET_FORM.header
_PLACED: dict[str, Any] = dict(_HEADER.fields or {})
_LONG = 24
"""Bytes from which on copying each content by itself is faster than copying all of them byte by byte."""


def has_spans(layout: Layout) -> bool:
    """Whether payloads of a layout can be read so: text, bytes and arrays are all that has a variable size."""
    variable = [part for part in layout.parts if isinstance(part, LayoutField)]
    return bool(variable) and all(part.item.as_length is not None and part.item.as_length.has_spans for part in variable)


@attrs.frozen(eq=False)
class SpanRecords:
    """Records whose fields of fixed width are columns, and whose others are known by where they lie. Indexed by the name of
    a key component or a slot, by a slice or a mask, as a structured array is.

    Attributes:
        fixed: key components and slots; structured array, shape (n,).
        octets: what the others lie in.
        spans: where each field of variable length begins and ends in each record, by name; shape (n,) each.
    """

    fixed: npt.NDArray[Any]
    octets: bytes
    spans: dict[str, tuple[Places, Places]]

    def __len__(self) -> int:
        return len(self.fixed)

    def __getitem__(self, asked: Any) -> Any:
        """A column, shape (n,), or some of the records."""
        if isinstance(asked, str):
            return self.fixed[asked]
        spans = {name: (starts[asked], stops[asked]) for name, (starts, stops) in self.spans.items()}
        return SpanRecords(self.fixed[asked], self.octets, spans)

    def contents(self, field: LayoutField) -> tuple[Places, npt.NDArray[np.uint8]]:
        """The bytes of a field of variable length, one content after another, without its lengths.

        Returns:
            Where each begins, and behind them where the last one ends, shape (n + 1,); and the bytes.
        """
        starts, stops = self.spans[field.name]
        return _contents(self.octets, starts, stops)

    def objects(self, field: LayoutField) -> list[Any]:
        """The values of a field of variable length, None where there is none."""
        starts, stops = self.spans[field.name]
        item = field.item.as_length
        assert item is not None
        pieces = map(self.octets.__getitem__, map(slice, starts.tolist(), stops.tolist()))
        values = item.contents(pieces)
        if field.bit is None:
            return values
        return [value if there else None for value, there in zip(values, field.present(self.fixed).tolist(), strict=True)]


def spans_of(layout: Layout, octets: bytes, starts: Places, ends: Places) -> SpanRecords | None:
    """Records as columns; None when any of them is none of the layout's.

    Args:
        layout: one that `has_spans`.
        octets: whole records in GET form.
        starts: where each begins, shape (n,).
        ends: where each ends.
    """
    fixed = np.empty(len(starts), _fixed_dtype(layout))
    at = starts + _HEADER.itemsize + layout.leading
    if (at > ends).any() or (
        layout.version is not None and (gathered(octets, at - 1, np.dtype("u1")) != layout.version).any()
    ):
        return None
    for name in KEY_FIELDS:
        kind, offset = _PLACED[name][:2]
        fixed[name] = gathered(octets, starts + offset, kind)
    spans = {}
    for part in layout.parts:
        if isinstance(part, Slot):
            stop = at + part.gap + part.dtype.itemsize
            if (stop > ends).any():
                return None
            fixed[part.name] = gathered(octets, at + part.gap, part.dtype)
        else:
            present = None if part.bit is None else part.present(fixed)
            span = _span(part.item.as_length, present, octets, at, ends)
            if span is None:
                return None
            spans[part.name] = span
            stop = span[1]
        at = stop
    if (at + layout.tail != ends).any():
        return None
    faulty = layout.faulty(fixed)
    if faulty is not None and faulty.any():
        return None
    records = SpanRecords(fixed, octets, spans)
    variable = (field for field in layout.fields if field.name in spans)
    return records if all(_is_sound(records, field) for field in variable) else None


def _fixed_dtype(layout: Layout) -> np.dtype[Any]:
    keys = [(name, _PLACED[name][0]) for name in KEY_FIELDS]
    return np.dtype([*keys, *((slot.name, slot.dtype) for slot in layout.slots)])


def _span(
    item: Any, present: npt.NDArray[np.bool_] | None, octets: bytes, at: Places, ends: Places
) -> tuple[Places, Places] | None:
    """Where the contents of a field begin and end; absent ones take no bytes. None when one leaves its record."""
    if item.prefix is None:
        starts, stops = at, ends
        if item.unit > 1 and ((stops - starts) % item.unit).any():
            return None
        return (starts, stops) if present is None else (starts, np.where(present, stops, starts))
    size = item.prefix.size
    starts = at + size
    if (starts > ends if present is None else present & (starts > ends)).any():
        return None
    kind = np.dtype(MARKS[item.byte_order] + item.prefix.numpy)
    if present is None:
        counts = gathered(octets, at, kind).astype(np.int64)
    else:
        starts = np.where(present, starts, at)
        counts = np.zeros(len(at), np.int64)
        counts[present] = gathered(octets, at[present], kind)
    stops = starts + counts * item.unit
    return None if (stops > ends).any() else (starts, stops)


def _is_sound(records: SpanRecords, field: LayoutField) -> bool:
    """Whether contents are values: text is UTF-8, and items are of their type."""
    assert field.item.as_length is not None
    return field.item.as_length.are_sound(*records.contents(field))


def _contents(octets: bytes, starts: Places, stops: Places) -> tuple[Places, npt.NDArray[np.uint8]]:
    lengths = stops - starts
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    total = int(offsets[-1])
    if not total:
        return offsets, np.empty(0, np.uint8)
    if total >= _LONG * len(lengths):
        joined = b"".join(map(octets.__getitem__, starmap(slice, zip(starts.tolist(), stops.tolist(), strict=True))))
        return offsets, np.frombuffer(joined, np.uint8)
    if (lengths == lengths[0]).all():
        return offsets, gathered(octets, starts, np.dtype(f"V{lengths[0]}")).view(np.uint8)
    places = np.repeat(starts - offsets[:-1], lengths)
    places += np.arange(total)
    return offsets, np.frombuffer(octets, np.uint8)[places]

"""Parts: the compressed columns of a block. No records, no files.

Rules kept here:

* A part is a header of 40 bytes, followed by its data. The header says how the part is encoded, so each part may be encoded
  differently, and a later version may add encodings. An unknown encoding raises `StoreCorruptError`.
* Encoding is lossless: integers keep every bit, opaque items every byte.
* Sizes in a header are never trusted. The caller says how many items it expects. No more than that is allocated, and a
  decompressor fills a buffer of exactly the expected size or fails.
* Callers have verified a checksum. The checks here guard against data that was wrong before it was checksummed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import lru_cache
from itertools import accumulate, repeat
from typing import Any, Final, NamedTuple, TypeAlias

import cramjam
import numpy as np
import numpy.typing as npt

from tsmodel.errors import StoreCorruptError

__all__ = [
    "Codec",
    "Part",
    "decode_bytes",
    "decode_integers",
    "decode_items",
    "decode_many_integers",
    "decode_many_items",
    "encode_bytes",
    "encode_integers",
    "encode_items",
    "end_of_part",
    "find_integers",
    "moved_integers",
    "read_parts",
]

Integers: TypeAlias = npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]


class Codec(IntEnum):
    """How the bytes of a part are compressed. A number never changes its meaning."""

    NONE = 0
    LZ4 = 1
    ZSTD = 2


class _Form(IntEnum):
    """The layout of a part. A number never changes its meaning."""

    CONSTANT = 0
    """All items are equal. The value is `base` for integers, the data for items."""
    PLANES = 1
    """The first byte of all items, then the second, and so on."""
    PLAIN = 2
    """Items one after another."""
    RUNS = 3
    """Two nested parts of integers: values, and how often each one repeats."""
    WORDS = 4
    """Integers of 1, 2, 4 or 8 bytes one after another. Used for few integers, because they decode with least overhead."""


_DIFFERENCES: Final = 0x80
"""Flag in the form of integers: the part stores the differences between neighbours; `first` is the first integer."""

_HEADER: Final = struct.Struct("<BBBBIIIqqQ")
_LENGTH: Final = 6
"""Position of the length among the fields of a header."""
_UNSIGNED: Final = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
_MANY: Final = 32
"""With fewer items, runs and planes do not pay off."""
_RUN: Final = 8
"""Average length from which runs are smaller and faster to decode than other forms."""
_NESTED: Final = 2
"""How deep runs may be nested."""
_NESTED_MANY: Final = 1024
"""Fewer values or lengths of runs are stored as words, which decode faster than planes or nested runs."""
_WIDE: Final = 256
"""Wider items are not split into planes."""
_SAMPLE: Final = 500
"""Number of differences to sample to decide whether they are smaller than the integers. Either choice is correct."""
_WORD_BYTES: Final = (1, 2, 4, 8)
_PLACES: Final = 2**17
"""How many places to keep in memory; a chunk of several blocks has fewer records."""
_ZSTD_LEVEL: Final = 1
_ZSTD_WINDOW: Final = 23
"""log2 of the largest window that a zstd frame may request."""
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


# glibc returns freed memory above a threshold to the system, and each page that comes back costs as much as decoding it.
# The threshold follows the largest array that was freed, up to twice 32 MiB. So allocate one; its pages are never touched.
# From then on, the process keeps up to 64 MiB of freed memory. See mallopt(3), M_MMAP_THRESHOLD.
np.empty(2**25 - 2**16, np.uint8)


class Part(NamedTuple):
    """A part that is parsed but not decoded.

    Attributes:
        form: its layout.
        codec: how its bytes are compressed.
        planes: width of each packed integer, in bytes.
        width: width of each item, in bytes; 0 for integers.
        stored: number of packed integers or items.
        base: added to each packed integer.
        first: the first integer, if the part stores differences.
        scale: factor of each packed integer.
        data: the stored bytes.
    """

    form: int
    codec: int
    planes: int
    width: int
    stored: int
    base: int
    first: int
    scale: int
    data: memoryview


_new: Final = tuple.__new__
"""Makes a named tuple in half the time."""


def read_parts(data: memoryview) -> Iterator[Part]:
    """Parses consecutive parts, without decoding them.

    Raises:
        StoreCorruptError: if the last one is truncated.
    """
    at, end = 0, len(data)
    while at < end:
        if end - at < _HEADER.size:
            raise StoreCorruptError(f"a part's header is truncated after {end - at} bytes")
        form, codec, planes, _, width, count, length, base, first, scale = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        if length > end - at:
            raise StoreCorruptError(f"a part of {length} bytes is truncated after {end - at}")
        yield _new(Part, (form, codec, planes, width, count, base, first, scale, data[at : at + length]))
        at += length


def encode_integers(values: npt.NDArray[Any], codec: Codec) -> bytes:
    """Encodes integers of up to 64 bits, shape (n,), n >= 1, as a part."""
    return _integers(np.ascontiguousarray(values).astype(np.int64, copy=False), codec, 0)


def decode_integers(
    part: Part, count: int, dtype: npt.DTypeLike = np.int64, within: slice | None = None
) -> npt.NDArray[Any]:
    """Decodes the integers of a part, shape (count,). Unsigned integers come back as signed ones with the same bits.

    Args:
        part: a part from `encode_integers`.
        count: how many integers it holds.
        dtype: a signed dtype that holds all of them. Fewer bytes are faster.
        within: which integers to decode: a slice that is not empty, with a step of 1; None for all.

    Raises:
        StoreCorruptError: if the part does not hold exactly `count` integers.
    """
    wanted = np.dtype(dtype)
    out = np.empty(count if within is None else within.stop - within.start, wanted)
    decode_many_integers([part], [count], out, None if within is None else [within])
    return out


def decode_many_integers(
    parts: Sequence[Part],
    counts: Sequence[int],
    out: npt.NDArray[Any],
    within: Sequence[slice] | None = None,
    plus: Sequence[int] | None = None,
) -> None:
    """Decodes the integers of several parts, one after another. Runs of all parts are decoded together.

    Args:
        parts: parts from `encode_integers`.
        counts: how many integers each one holds.
        out: where to write them; its dtype is as for `decode_integers`.
        within: which integers of each part to decode, as for `decode_integers`.
        plus: what to add to the integers of each part.

    Raises:
        StoreCorruptError: if a part does not hold exactly as many integers as it should.
    """
    # Sums and products that overflow keep the lower bits: they are right in any width that holds the results.
    wanted = out.view(_UNSIGNED[out.dtype.itemsize])
    more = plus or [0] * len(parts)
    form = parts[0].form
    if form & ~_DIFFERENCES == _Form.RUNS and all(part.form == form and not part.width for part in parts):
        runs = _Runs(parts, counts, wanted.dtype, 0, more)
        if within is None:
            runs.expand(wanted)
        else:
            before = list(accumulate(counts, initial=0))
            starts = [first + each.start for first, each in zip(before, within, strict=False)]
            stops = [first + each.stop for first, each in zip(before, within, strict=False)]
            runs.expand_within(starts, stops, wanted)
        return
    at = 0
    for part, count, places, added in zip(parts, counts, within or repeat(None), more, strict=False):
        size = count if places is None else places.stop - places.start
        _decoded(part, count, wanted[at : at + size], 0, added, places)
        at += size


def find_integers(part: Part, count: int, dtype: npt.DTypeLike, ends: tuple[int, int]) -> tuple[int, int]:
    """Searches the ascending integers of a part: how many are less than each of two values."""
    wanted = np.dtype(dtype)
    if part.form == _Form.RUNS and not part.width:
        first, last = _Runs([part], [count], _UNSIGNED[wanted.itemsize], 0, [0]).before(ends, wanted)
    else:
        first, last = np.searchsorted(decode_integers(part, count, wanted), ends).tolist()
    return first, last


def moved_integers(data: bytearray, at: int, by: int) -> None:
    """Adds `by` to each integer of the part that starts at `at`, without decoding it. The sums must fit into 64 bits."""
    form, *middle, base, first, scale = _HEADER.unpack_from(data, at)
    if form & _DIFFERENCES:
        first += by
    elif form == _Form.RUNS:
        moved_integers(data, at + _HEADER.size, by)  # the values come before their counts
    else:
        base += by
    _HEADER.pack_into(data, at, form, *middle, base, first, scale)


def end_of_part(data: bytes | bytearray, at: int) -> int:
    """The end of the part that starts at `at`."""
    return at + _HEADER.size + int(_HEADER.unpack_from(data, at)[_LENGTH])


def encode_items(items: Bytes, codec: Codec) -> bytes:
    """Encodes opaque items of one size, shape (n, width), n >= 1, width >= 1, as a part."""
    count, width = items.shape
    if count > 1 and (items[0] == items[-1]).all() and (items == items[0]).all():
        return _part(_Form.CONSTANT, Codec.NONE, items[0].tobytes(), width=width, count=count)
    if width > 1 and count >= _MANY and width <= _WIDE:
        planes = np.empty((width, count), np.uint8)
        for at in range(width):
            planes[at] = items[:, at]
        used, stored = _compressed(planes.reshape(-1), codec)
        if used is not Codec.NONE:
            return _part(_Form.PLANES, used, stored, width=width, count=count)
        return _part(_Form.PLAIN, used, items.tobytes(), width=width, count=count)
    used, stored = _compressed(np.ascontiguousarray(items).reshape(-1), codec)
    return _part(_Form.PLAIN, used, stored, width=width, count=count)


def decode_items(part: Part, count: int, width: int, within: slice | None = None) -> Bytes:
    """Decodes the items of a part, shape (count, width).

    Args:
        part: a part from `encode_items`.
        count: how many items it holds.
        width: bytes of each one.
        within: which items to decode: a slice with a step of 1; None for all.

    Raises:
        StoreCorruptError: if the part does not hold exactly `count` items of that size.
    """
    if part.form == _Form.PLANES:
        out = np.empty((count if within is None else within.stop - within.start, width), np.uint8)
        decode_many_items([part], [count], out, None if within is None else [within])
        return out
    return _items(part, count, width, within)


def decode_many_items(
    parts: Sequence[Part], counts: Sequence[int], out: Bytes, within: Sequence[slice] | None = None
) -> None:
    """Decodes the items of several parts, one after another, into `out`, shape (n, width). See `decode_items`.

    Raises:
        StoreCorruptError: if a part does not hold exactly as many items as it should.
    """
    width, at = out.shape[1], 0
    for place, (part, count) in enumerate(zip(parts, counts, strict=True)):
        wanted = None if within is None else within[place]
        items = _items(part, count, width, wanted)
        some = out[at : at + len(items)]
        at += len(items)
        if part.form == _Form.PLANES:  # faster than one copy
            for byte in range(width):
                some[:, byte] = items[:, byte]
        else:
            some[:] = items


def _items(part: Part, count: int, width: int, within: slice | None) -> Bytes:
    """The items of a part, shape (n, width), in any order in memory."""
    if part.width != width or part.stored != count:
        raise StoreCorruptError(f"a part has {part.stored} items of {part.width} bytes, not {count} of {width}")
    if part.form == _Form.CONSTANT:
        if len(part.data) != width:
            raise StoreCorruptError(f"a part repeats {len(part.data)} bytes, not {width}")
        wanted = count if within is None else within.stop - within.start
        return np.broadcast_to(np.frombuffer(part.data, np.uint8), (wanted, width))
    if part.form not in (_Form.PLAIN, _Form.PLANES):
        raise StoreCorruptError(f"a part of items has form {part.form}, which this version does not know")
    raw = _raw(part, count * width)
    items = raw.reshape(count, width) if part.form == _Form.PLAIN else raw.reshape(width, count).T
    return items if within is None else items[within]


def encode_bytes(data: Bytes, codec: Codec) -> bytes:
    """Encodes bytes, shape (n,), as a part."""
    used, stored = _compressed(data, codec)
    return _part(_Form.PLAIN, used, stored, width=1, count=len(data))


def decode_bytes(part: Part, size: int) -> Bytes:
    """Decodes the bytes of a part, shape (size,).

    Raises:
        StoreCorruptError: if the part does not hold exactly `size` bytes.
    """
    return decode_items(part, size, 1).reshape(-1) if size else np.empty(0, np.uint8)


def _integers(values: Integers, codec: Codec, depth: int) -> bytes:
    count = len(values)
    if count < _MANY or (depth and count < _NESTED_MANY):
        return _words(values, codec)
    steps = values[1:] - values[:-1]
    changed = np.count_nonzero(steps)
    if not changed:
        return _part(_Form.CONSTANT, Codec.NONE, b"", count=count, base=int(values[0]))
    if depth < _NESTED:
        if (changed + 1) * _RUN <= count:
            return _runs(values, steps, 0, 0, codec, depth)
        changes = steps[1:] != steps[:-1]
        if (np.count_nonzero(changes) + 1) * _RUN <= count:
            return _runs(steps, changes, _DIFFERENCES, int(values[0]), codec, depth)
    least, greatest = _ends(values)
    some = np.abs(steps[:: max(1, count // _SAMPLE)].astype(np.float64))
    if float(np.add.reduce(some)) * _RUN < float(greatest - least) * len(some):
        return _packed(steps, *_ends(steps), _DIFFERENCES, int(values[0]), codec)
    return _packed(values, least, greatest, 0, 0, codec)


def _ends(values: Integers) -> tuple[int, int]:
    """Least and greatest of some integers."""
    return int(np.minimum.reduce(values)), int(np.maximum.reduce(values))


def _runs(values: Integers, changes: npt.NDArray[Any], flag: int, first: int, codec: Codec, depth: int) -> bytes:
    edges = changes.nonzero()[0]
    edges += 1
    starts = np.empty(len(edges) + 1, np.int64)
    starts[0], starts[1:] = 0, edges
    lengths = np.empty_like(starts)
    lengths[:-1] = edges
    lengths[-1] = len(values)
    lengths -= starts
    parts = _integers(values.take(starts), codec, depth + 1) + _integers(lengths, codec, depth + 1)
    return _part(_Form.RUNS | flag, Codec.NONE, parts, count=len(starts), first=first)


def _words(values: Integers, codec: Codec) -> bytes:
    """Encodes a few integers as words: subtracts the least one, and uses the narrowest word that holds the rest."""
    base, greatest = _ends(values)
    if base == greatest:
        return _part(_Form.CONSTANT, Codec.NONE, b"", count=len(values), base=base)
    bits = (greatest - base).bit_length()
    width = next(width for width in _WORD_BYTES if bits <= 8 * width)
    above = (values - np.int64(base)).astype(_UNSIGNED[width])
    # LZ4 even if zstd was requested: for so few bytes, only decoding time differs.
    used, stored = _compressed(above.view(np.uint8), min(codec, Codec.LZ4))
    return _part(_Form.WORDS, used, stored, planes=width, count=len(values), base=base)


def _packed(values: Integers, base: int, greatest: int, flag: int, first: int, codec: Codec) -> bytes:
    """Encodes integers as planes: subtracts the least, divides by a common divisor, and drops bytes that are always 0."""
    above = values.view(np.uint64) - np.uint64(base % 2**64)
    scale = int(np.gcd.reduce(above[:: max(1, len(above) // 64)]))
    if scale > 1:
        divided = above // np.uint64(scale)
        if np.array_equal(divided * np.uint64(scale), above):
            above = divided
        else:
            scale = 1
    scale = max(scale, 1)
    count, width = len(above), max(1, (((greatest - base) // scale).bit_length() + 7) // 8)
    raw = above.astype("<u8", copy=False).view(np.uint8).reshape(count, 8)
    planes = np.empty((width, count), np.uint8)
    for at in range(width):
        planes[at] = raw[:, at]
    used, stored = _compressed(planes.reshape(-1), codec)
    return _part(
        _Form.PLANES | flag, used, stored, planes=width, count=count, base=base, first=first, scale=scale
    )  # fmt: skip


def _decoded(
    part: Part, count: int, out: npt.NDArray[Any], depth: int = 0, plus: int = 0, within: slice | None = None
) -> None:
    """Decodes the `count` integers of a part, or those `within` a slice, into `out`, whose dtype is unsigned. Adds `plus`
    to each."""
    if part.width:
        raise StoreCorruptError(f"a part of integers has items of {part.width} bytes")
    form, differences = part.form & ~_DIFFERENCES, bool(part.form & _DIFFERENCES)
    if form == _Form.RUNS:
        runs = _Runs([part], [count], out.dtype, depth, [plus])
        if within is None:
            runs.expand(out)
        else:
            runs.expand_within([within.start], [within.stop], out)
        return
    if differences and within is not None:
        whole = np.empty(count, out.dtype)
        _decoded(part, count, whole, depth, plus)
        out[:] = whole[within]
        return
    stored = count - differences
    if stored < 1:
        raise StoreCorruptError(f"a part of {count} integers holds differences")
    if part.stored != stored:
        raise StoreCorruptError(f"a part holds {part.stored} integers, not {stored}")
    added = 0 if differences else plus
    if form == _Form.CONSTANT:
        out[differences:] = (part.base + added) & _mask(out.dtype)
    elif form in (_Form.PLANES, _Form.WORDS):
        _lift(part, _unpacked(part, stored, form, within), out[1:] if differences else out, added)
    else:
        raise StoreCorruptError(f"a part of integers has form {part.form}, which this version does not know")
    if differences:
        out[0] = (part.first + plus) & _mask(out.dtype)
        np.add.accumulate(out, out=out)


def _mask(kind: np.dtype[Any]) -> int:
    return (1 << (8 * kind.itemsize)) - 1


def _lift(part: Part, above: npt.NDArray[Any], out: npt.NDArray[Any], plus: int) -> None:
    """Reverses what `_packed` did: multiplies by the scale, and adds the base and `plus`."""
    kind = out.dtype
    base: Any = kind.type((part.base + plus) & _mask(kind))
    if part.scale != 1:
        np.multiply(above, kind.type(part.scale & _mask(kind)), out=out, dtype=kind, casting="unsafe")
        if base:
            out += base
    else:
        np.add(above, base, out=out, dtype=kind, casting="unsafe")


def _unpacked(part: Part, count: int, form: int, within: slice | None = None) -> npt.NDArray[Any]:
    width = part.planes
    if not 1 <= width <= 8 or (form == _Form.WORDS and width not in _WORD_BYTES):
        raise StoreCorruptError(f"a part has integers of {width} bytes")
    raw = _raw(part, count * width)
    if width == 1 or form == _Form.WORDS:
        words = raw.view(f"<u{width}")
        return words if within is None else words[within]
    planes = raw.reshape(width, count)
    if within is not None:
        planes, count = planes[:, within], within.stop - within.start
    room = 2 if width == 2 else 4 if width <= 4 else 8
    padded = (np.empty if room == width else np.zeros)((count, room), np.uint8)
    for at in range(width):
        padded[:, at] = planes[at]
    return padded.view(f"<u{room}").reshape(count)


class _Runs:
    """The runs of several parts of one form, one part after another, computed in the unsigned dtype `kind`.

    Of integers, a run repeats a value. Of differences, it is an arithmetic progression: its value is the step. The first
    integer of a part is then a run of its own. Places count from the first integer of the first part.
    """

    def __init__(
        self, parts: Sequence[Part], counts: Sequence[int], kind: np.dtype[Any], depth: int, plus: Sequence[int]
    ) -> None:
        self._steps = steps = bool(parts[0].form & _DIFFERENCES)
        heads = [*accumulate([part.stored + steps for part in parts], initial=0)]
        if depth >= _NESTED or heads[-1] > sum(counts):
            raise StoreCorruptError(f"parts of {list(counts)} integers say {heads[-1]} runs, {depth} deep")
        self._values = np.empty(heads[-1], kind)
        self._lengths = np.empty(heads[-1], np.uint64)
        self._heads = np.array(heads[:-1])
        nested = [_pair(part) for part in parts]
        numbers, none = [part.stored for part in parts], [0] * len(parts)
        _decode_small([values for values, _ in nested], numbers, heads, self._values, depth, none if steps else plus)
        _decode_small([lengths for _, lengths in nested], numbers, heads, self._lengths, depth, none)
        if steps:
            self._values[self._heads] = 0
            self._lengths[self._heads] = 1
        # As unsigned integers, negative lengths are too large.
        if np.maximum.reduce(self._lengths) > max(counts):
            raise StoreCorruptError(f"a run is longer than {max(counts)} integers")
        self._lengths = self._lengths.view(np.int64)
        self._ends = np.add.accumulate(self._lengths)
        if self._ends[[head - 1 for head in heads[1:]]].tolist() != list(accumulate(counts)):
            raise StoreCorruptError(f"runs do not add up to {list(counts)} integers")
        if steps:
            firsts = [(part.first + more) & _mask(kind) for part, more in zip(parts, plus, strict=True)]
            self._offsets = self._progressions(np.array(firsts, kind), np.subtract(heads[1:], heads[:-1]))

    def _progressions(self, firsts: npt.NDArray[Any], numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What to add to step times place, for each run. Sums and products that overflow keep the bits that are needed."""
        kind = self._values.dtype
        grown = self._values * self._lengths.astype(kind)
        before = np.add.accumulate(grown, dtype=kind) - grown
        starts = (self._ends - self._lengths - 1).astype(kind)
        offsets: npt.NDArray[Any] = before - self._values * starts
        offsets += (firsts - before[self._heads]).repeat(numbers)
        return offsets

    def expand(self, out: npt.NDArray[Any]) -> None:
        """Writes all integers."""
        self._write(self._lengths, _places(len(out), out.dtype), out)

    def expand_within(self, starts: Sequence[int], stops: Sequence[int], out: npt.NDArray[Any]) -> None:
        """Writes the integers from each start to its stop; there is one pair for each part."""
        if len(starts) == 1:
            low, high = np.searchsorted(self._ends, (starts[0], stops[0] - 1), side="right").tolist()
            self._values, ends = self._values[low : high + 1], self._ends[low : high + 1]
            if self._steps:
                self._offsets = self._offsets[low : high + 1]
            lengths = np.minimum(ends, stops[0])
            lengths[1:] -= ends[:-1]
            lengths[0] -= starts[0]
            places = _places(stops[0], out.dtype)[starts[0] :]
        else:
            numbers = np.diff(self._heads, append=len(self._values))
            first, last = np.array(starts).repeat(numbers), np.array(stops).repeat(numbers)
            lengths = np.minimum(self._ends, last) - np.maximum(self._ends - self._lengths, first)
            np.maximum(lengths, 0, out=lengths)
            every = _places(stops[-1], out.dtype)
            places = np.concatenate([every[start:stop] for start, stop in zip(starts, stops, strict=True)])
        self._write(lengths, places, out)

    def before(self, values: Sequence[int], dtype: np.dtype[Any]) -> list[int]:
        """How many of the ascending integers are less than each of some values."""
        at = np.searchsorted(self._values.view(dtype), values)
        return [int(self._ends[place - 1]) if place else 0 for place in at.tolist()]

    def _write(self, lengths: npt.NDArray[Any], places: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        if not self._steps:
            out[:] = self._values.repeat(lengths)
            return
        np.multiply(self._values.repeat(lengths), places, out=out)
        out += self._offsets.repeat(lengths)


def _pair(part: Part) -> tuple[Part, Part]:
    """The values and lengths of runs."""
    nested = list(read_parts(part.data))
    if len(nested) != 2 or part.stored < 1:
        raise StoreCorruptError(f"a part says {part.stored} runs, in {len(nested)} parts")
    return nested[0], nested[1]


def _decode_small(
    parts: Sequence[Part],
    counts: Sequence[int],
    edges: Sequence[int],
    out: npt.NDArray[Any],
    depth: int,
    plus: Sequence[int],
) -> None:
    """Decodes parts of few integers, each to the end of its place in `out`; words of one width all at once. `edges` says
    where the places begin, and where the last one ends."""
    width = parts[0].planes
    if len(parts) == 1 or width not in _WORD_BYTES or not all(_is_plain_word(part, width) for part in parts):
        for part, count, stop, more in zip(parts, counts, edges[1:], plus, strict=True):
            _decoded(part, count, out[stop - count : stop], depth + 1, more)
        return
    raw = np.zeros(edges[-1] * width, np.uint8)
    for part, count, stop in zip(parts, counts, edges[1:], strict=True):
        if part.stored != count:
            raise StoreCorruptError(f"a part holds {part.stored} integers, not {count}")
        _raw(part, count * width, raw[(stop - count) * width : stop * width])
    mask = _mask(out.dtype)
    bases = np.array([(part.base + more) & mask for part, more in zip(parts, plus, strict=True)], out.dtype)
    np.add(
        raw.view(f"<u{width}"), bases.repeat(np.subtract(edges[1:], edges[:-1])), out=out, dtype=out.dtype, casting="unsafe"
    )


def _is_plain_word(part: Part, width: int) -> bool:
    return part.form == _Form.WORDS and part.planes == width and part.scale == 1 and not part.width


@lru_cache(maxsize=8)
def _counted(kind: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    counted = np.arange(count, dtype=kind)
    counted.flags.writeable = False
    return counted


def _places(count: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """0, 1, ... up to `count`."""
    return _counted(kind, _PLACES)[:count] if count <= _PLACES else np.arange(count, dtype=kind)


def _part(
    form: int, codec: Codec, data: bytes, *, width: int = 0, planes: int = 0, count: int, base: int = 0, first: int = 0,
    scale: int = 1,
) -> bytes:  # fmt: skip
    return _HEADER.pack(form, codec, planes, 0, width, count, len(data), base, first, scale) + data


def _compressed(raw: Bytes, codec: Codec) -> tuple[Codec, bytes]:
    """Compresses `raw`, unless that saves less than a sixteenth. Returns the codec used and the bytes to store."""
    if codec is Codec.NONE or len(raw) < _MANY:
        return Codec.NONE, raw.tobytes()
    given: Any = raw  # the types of NumPy do not say that arrays are buffers before Python 3.12
    if codec is Codec.LZ4:
        stored = cramjam.lz4.compress_block(given, store_size=False)
    else:
        stored = cramjam.zstd.compress(given, _ZSTD_LEVEL)
    if len(stored) > len(raw) - len(raw) // 16:
        return Codec.NONE, raw.tobytes()
    return codec, bytes(stored)


def _raw(part: Part, size: int, out: Bytes | None = None) -> Bytes:
    """Decompresses the data of a part: exactly `size` bytes, into `out` if it is given."""
    data = part.data
    if part.codec == Codec.NONE:
        if len(data) != size:
            raise StoreCorruptError(f"a part stores {len(data)} bytes, not {size}")
        stored = np.frombuffer(data, np.uint8)
        if out is not None:
            out[:] = stored
        return stored
    raw: Any = np.empty(size, np.uint8) if out is None else out
    try:
        if part.codec == Codec.LZ4:
            found = cramjam.lz4.decompress_block_into(data, raw, output_len=size)
        elif part.codec == Codec.ZSTD:
            _check_window(data)
            found = cramjam.zstd.decompress_into(data, raw)
        else:
            raise StoreCorruptError(f"a part is compressed with codec {part.codec}, which this version does not know")
    except cramjam.DecompressionError as error:
        raise StoreCorruptError(f"a part cannot be decompressed to {size} bytes: {error}") from error
    if found != size:
        raise StoreCorruptError(f"a part has {found} bytes when decompressed, not {size}")
    whole: Bytes = raw
    return whole


def _check_window(data: memoryview) -> None:
    """Refuses a zstd frame that requests a large window from the decompressor (RFC 8878, 3.1.1.1)."""
    if len(data) < 6 or bytes(data[:4]) != _ZSTD_MAGIC:
        raise StoreCorruptError("a part is not a zstd frame")
    if not data[4] & 0x20 and 10 + (data[5] >> 3) > _ZSTD_WINDOW:
        raise StoreCorruptError(f"a zstd frame requests a window of 2**{10 + (data[5] >> 3)} bytes")

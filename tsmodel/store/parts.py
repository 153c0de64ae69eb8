"""Parts: how one column of a block is compressed. No records, no files.

Rules kept here:

* A part is a header of 40 bytes and what it stores. The header says how the part is encoded, so each part may be encoded
  differently, and a later version may add encodings. An encoding that is not known here is a `StoreCorruptError`.
* Decoding is exact: integers come back with every bit, opaque items with every byte.
* Sizes in a header are never trusted. The caller says how many items it expects. Nothing is allocated beyond that, and a
  decompressor writes into a buffer of the right size or fails.
* Whoever decodes has checked a checksum before. These checks are for what a checksum cannot exclude.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
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
    """What compresses the bytes of a part. A number never changes its meaning."""

    NONE = 0
    LZ4 = 1
    ZSTD = 2


class _Form(IntEnum):
    """How a part is laid out. A number never changes its meaning."""

    CONSTANT = 0
    """One value for all items. Integers: `base`; items: the stored bytes."""
    PLANES = 1
    """The first byte of all items, then the second, and so on."""
    PLAIN = 2
    """Items one after another."""
    RUNS = 3
    """Two parts of integers: values, and how often each one repeats."""
    WORDS = 4
    """Integers of 1, 2, 4 or 8 bytes one after another: few of them, which are read without more ado."""


_DIFFERENCES: Final = 0x80
"""Added to the form of integers: `first`, then what is added to get from each integer to the next one."""

_HEADER: Final = struct.Struct("<BBBBIIIqqQ")
_LENGTH: Final = 6
"""Place of the length in a header."""
_UNSIGNED: Final = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
_MANY: Final = 32
"""Fewer items are not worth looking for runs, or for planes."""
_RUN: Final = 8
"""Average length from which runs are smaller, and faster to decode, than anything else."""
_NESTED: Final = 2
"""Runs may consist of runs that often."""
_NESTED_MANY: Final = 1024
"""Fewer values or lengths of runs are stored as words: they take a part of the time that planes or runs of runs take."""
_WIDE: Final = 256
"""Items of more bytes are not split into planes."""
_SAMPLE: Final = 500
"""About how many steps say whether differences are smaller than the integers: any answer can be decoded."""
_WORD_BYTES: Final = (1, 2, 4, 8)
_ZSTD_LEVEL: Final = 1
_ZSTD_WINDOW: Final = 23
"""log2 of the largest window that a zstd frame may ask for."""
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


class Part(NamedTuple):
    """A part that was read but not decoded.

    Attributes:
        form: how it is laid out.
        codec: what its bytes are compressed by.
        planes: bytes of each packed integer.
        width: bytes of each item; 0 for integers.
        stored: how many integers or items are packed.
        base: added to each packed integer.
        first: the first integer, where differences are stored.
        scale: what each packed integer is multiplied by.
        data: what is stored.
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


def read_parts(data: memoryview) -> Iterator[Part]:
    """The parts that follow one another in `data`, without decoding them.

    Raises:
        StoreCorruptError: when the last one is cut short.
    """
    at, end = 0, len(data)
    while at < end:
        if end - at < _HEADER.size:
            raise StoreCorruptError(f"a part's header is cut short after {end - at} bytes")
        form, codec, planes, _, width, count, length, base, first, scale = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        if length > end - at:
            raise StoreCorruptError(f"a part of {length} bytes is cut short after {end - at}")
        yield Part(form, codec, planes, width, count, base, first, scale, data[at : at + length])
        at += length


def encode_integers(values: npt.NDArray[Any], codec: Codec) -> bytes:
    """A part that holds integers of up to 64 bits, shape (n,), n >= 1."""
    return _integers(np.ascontiguousarray(values).astype(np.int64, copy=False), codec, 0)


def decode_integers(
    part: Part, count: int, dtype: npt.DTypeLike = np.int64, within: slice | None = None
) -> npt.NDArray[Any]:
    """The integers of a part, shape (count,). Unsigned ones come back as the signed ones with the same bits.

    Args:
        part: what `encode_integers` gave.
        count: how many there are.
        dtype: a signed integer's that holds all of them: what is computed in fewer bytes is faster.
        within: which of them are wanted, at least one, with a step of 1; None for all.

    Raises:
        StoreCorruptError: when the part does not hold exactly so many.
    """
    wanted = np.dtype(dtype)
    # Sums and products that overflow keep the lower bits: they are right in any width that the results fit.
    kind = _UNSIGNED[wanted.itemsize]
    if within is None:
        return _decoded(part, count, 0, kind).view(wanted)
    return _some(part, count, kind, within.start, within.stop).view(wanted)


def find_integers(part: Part, count: int, dtype: npt.DTypeLike, ends: tuple[int, int]) -> tuple[int, int]:
    """Where the ascending integers of a part reach two values: how many are less than each of them."""
    wanted = np.dtype(dtype)
    if part.form == _Form.RUNS and not part.width:
        values, lengths = _runs_of(part, count, 0, _UNSIGNED[wanted.itemsize])
        starts = np.zeros(len(lengths) + 1, np.int64)
        np.add.accumulate(lengths.view(np.int64), out=starts[1:])
        first, last = starts[np.searchsorted(values.view(wanted), ends)].tolist()
    else:
        first, last = np.searchsorted(decode_integers(part, count, wanted), ends).tolist()
    return first, last


def moved_integers(data: bytearray, at: int, by: int) -> None:
    """Adds `by` to each integer of the part that begins at `at`, in place and without decoding it.

    Args:
        data: what parts are stored in.
        at: where the part begins.
        by: what is added; the sums fit into 64 bits.
    """
    form, *middle, base, first, scale = _HEADER.unpack_from(data, at)
    if form & _DIFFERENCES:
        first += by
    elif form == _Form.RUNS:
        moved_integers(data, at + _HEADER.size, by)  # the values come before their counts
    else:
        base += by
    _HEADER.pack_into(data, at, form, *middle, base, first, scale)


def end_of_part(data: bytes | bytearray, at: int) -> int:
    """Where the part that begins at `at` ends."""
    return at + _HEADER.size + int(_HEADER.unpack_from(data, at)[_LENGTH])


def encode_items(items: Bytes, codec: Codec) -> bytes:
    """A part that holds opaque items of one size, shape (n, width), n >= 1, width >= 1."""
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
    """The items of a part, shape (count, width); those `within` a slice, with a step of 1, when it is given.

    Raises:
        StoreCorruptError: when the part does not hold exactly so many of that size.
    """
    if part.width != width or part.stored != count:
        raise StoreCorruptError(f"a part has {part.stored} items of {part.width} bytes, not {count} of {width}")
    if part.form == _Form.CONSTANT:
        if len(part.data) != width:
            raise StoreCorruptError(f"a part repeats {len(part.data)} bytes, not {width}")
        wanted = count if within is None else within.stop - within.start
        return np.broadcast_to(np.frombuffer(part.data, np.uint8), (wanted, width))
    raw = _raw(part, count * width)
    if part.form == _Form.PLAIN:
        plain = raw.reshape(count, width)
        return plain if within is None else plain[within]
    if part.form != _Form.PLANES:
        raise StoreCorruptError(f"a part of items has form {part.form}, which this version does not know")
    planes = raw.reshape(width, count)
    if within is not None:
        return np.ascontiguousarray(planes[:, within].T)
    items = np.empty((count, width), np.uint8)
    for at in range(width):
        items[:, at] = planes[at]
    return items


def encode_bytes(data: Bytes, codec: Codec) -> bytes:
    """A part that holds bytes, shape (n,)."""
    used, stored = _compressed(data, codec)
    return _part(_Form.PLAIN, used, stored, width=1, count=len(data))


def decode_bytes(part: Part, size: int) -> Bytes:
    """The bytes of a part, shape (size,).

    Raises:
        StoreCorruptError: when the part does not hold exactly so many.
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
    """The least and the greatest of some integers."""
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
    """A few integers less the least one, in as few bytes as the greatest one takes, rounded up to a machine's."""
    base, greatest = _ends(values)
    if base == greatest:
        return _part(_Form.CONSTANT, Codec.NONE, b"", count=len(values), base=base)
    bits = (greatest - base).bit_length()
    width = next(width for width in _WORD_BYTES if bits <= 8 * width)
    above = (values - np.int64(base)).astype(_UNSIGNED[width])
    # LZ4 also where zstd is asked for: of so few bytes, all that differs is how long they take to read.
    used, stored = _compressed(above.view(np.uint8), min(codec, Codec.LZ4))
    return _part(_Form.WORDS, used, stored, planes=width, count=len(values), base=base)


def _packed(values: Integers, base: int, greatest: int, flag: int, first: int, codec: Codec) -> bytes:
    """Integers less the least one, divided by what divides all of them, in as few bytes as the greatest one takes."""
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


def _decoded(part: Part, count: int, depth: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """The integers of a part, computed in the unsigned type `kind`."""
    if part.width:
        raise StoreCorruptError(f"a part of integers has items of {part.width} bytes")
    form, differences = part.form & ~_DIFFERENCES, bool(part.form & _DIFFERENCES)
    stored = count - differences
    if stored < 1:
        raise StoreCorruptError(f"a part of {count} integers holds differences")
    if form == _Form.RUNS:
        return _repeated(part, stored, depth, kind)
    if part.stored != stored:
        raise StoreCorruptError(f"a part holds {part.stored} integers, not {stored}")
    whole = np.empty(count, kind)
    if form == _Form.CONSTANT:
        whole.fill(part.base & _mask(kind))
    elif form in (_Form.PLANES, _Form.WORDS):
        _lift(part, _unpacked(part, stored, form), whole[1:] if differences else whole)
    else:
        raise StoreCorruptError(f"a part of integers has form {part.form}, which this version does not know")
    if differences:
        whole[0] = part.first & _mask(kind)
        np.add.accumulate(whole, out=whole)
    return whole


def _mask(kind: np.dtype[Any]) -> int:
    return (1 << (8 * kind.itemsize)) - 1


def _lift(part: Part, above: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Multiplies and adds what was divided and subtracted; one pass, or two where values were divided."""
    kind = out.dtype
    base: Any = kind.type(part.base & _mask(kind))
    if part.scale != 1:
        np.multiply(above, kind.type(part.scale & _mask(kind)), out=out, dtype=kind, casting="unsafe")
        if part.base:
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


def _runs_of(part: Part, count: int, depth: int, kind: np.dtype[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint64]]:
    """The values of runs, and how often each is repeated."""
    nested = list(read_parts(part.data))
    if depth >= _NESTED or len(nested) != 2 or not 1 <= part.stored <= count:
        raise StoreCorruptError(f"a part of {count} integers says {part.stored} runs, in {len(nested)} parts")
    # As unsigned integers, negative lengths are too large.
    lengths = _decoded(nested[1], part.stored, depth + 1, _UNSIGNED[8])
    if np.maximum.reduce(lengths) > count or np.add.reduce(lengths) != count:
        raise StoreCorruptError(f"runs of a part do not add up to {count} integers")
    return _decoded(nested[0], part.stored, depth + 1, kind), lengths


def _repeated(part: Part, count: int, depth: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Runs of integers, or the sums of runs of differences, which begin with the first integer."""
    values, lengths = _runs_of(part, count, depth, kind)
    if not part.form & _DIFFERENCES:
        return values.repeat(lengths.view(np.int64))
    lengths[0] += 1  # room for the first integer, from which the sums begin
    whole = values.repeat(lengths.view(np.int64))
    whole[0] = part.first & _mask(kind)
    np.add.accumulate(whole, out=whole)
    return whole


def _some(part: Part, count: int, kind: np.dtype[Any], start: int, stop: int) -> npt.NDArray[Any]:
    """The integers from `start` to `stop`, at least one; of runs only those that are needed are repeated."""
    differences = bool(part.form & _DIFFERENCES)
    form = part.form & ~_DIFFERENCES
    if part.width or (form != _Form.RUNS and (differences or form not in (_Form.PLANES, _Form.WORDS))):
        return _decoded(part, count, 0, kind)[start:stop]
    if form != _Form.RUNS:
        if part.stored != count:
            raise StoreCorruptError(f"a part holds {part.stored} integers, not {count}")
        some = np.empty(stop - start, kind)
        _lift(part, _unpacked(part, count, form, slice(start, stop)), some)
        return some
    values, counts = _runs_of(part, count - differences, 0, kind)
    lengths = counts.view(np.int64)
    ends = np.add.accumulate(lengths)
    last = stop - differences  # the last integer takes no further step
    low, high = np.searchsorted(ends, (start, last - 1), side="right").tolist()
    before = start - int(ends[low] - lengths[low]) if low < len(ends) else 0
    taken = lengths[low : high + 1].copy()
    if len(taken):
        taken[0] -= before
        taken[-1] -= int(ends[high]) - last
    if not differences:
        return values[low : high + 1].repeat(taken)
    some = np.empty(stop - start, kind)
    at_start = part.first + int(np.add.reduce(values[:low] * counts[:low].astype(kind), dtype=kind))
    if before:
        at_start += int(values[low]) * before
    some[0] = at_start & _mask(kind)
    if stop - start > 1:
        some[1:] = values[low : high + 1].repeat(taken)
        np.add.accumulate(some, out=some)
    return some


def _part(
    form: int, codec: Codec, data: bytes, *, width: int = 0, planes: int = 0, count: int, base: int = 0, first: int = 0,
    scale: int = 1,
) -> bytes:  # fmt: skip
    return _HEADER.pack(form, codec, planes, 0, width, count, len(data), base, first, scale) + data


def _compressed(raw: Bytes, codec: Codec) -> tuple[Codec, bytes]:
    """What is stored of `raw`, and how: as it is where compression saves less than a sixteenth."""
    if codec is Codec.NONE or len(raw) < _MANY:
        return Codec.NONE, raw.tobytes()
    given: Any = raw  # arrays are buffers, and do not say so before Python 3.12
    if codec is Codec.LZ4:
        stored = cramjam.lz4.compress_block(given, store_size=False)
    else:
        stored = cramjam.zstd.compress(given, _ZSTD_LEVEL)
    if len(stored) > len(raw) - len(raw) // 16:
        return Codec.NONE, raw.tobytes()
    return codec, bytes(stored)


def _raw(part: Part, size: int) -> Bytes:
    """What is stored, decompressed: exactly `size` bytes."""
    data = part.data
    if part.codec == Codec.NONE:
        if len(data) != size:
            raise StoreCorruptError(f"a part stores {len(data)} bytes, not {size}")
        return np.frombuffer(data, np.uint8)
    raw: Any = np.empty(size, np.uint8)
    try:
        if part.codec == Codec.LZ4:
            found = cramjam.lz4.decompress_block_into(data, raw, output_len=size)
        elif part.codec == Codec.ZSTD:
            _check_window(data)
            found = cramjam.zstd.decompress_into(data, raw)
        else:
            raise StoreCorruptError(f"a part is compressed by {part.codec}, which this version does not know")
    except cramjam.DecompressionError as error:
        raise StoreCorruptError(f"a part cannot be decompressed to {size} bytes: {error}") from error
    if found != size:
        raise StoreCorruptError(f"a part has {found} bytes when decompressed, not {size}")
    whole: Bytes = raw
    return whole


def _check_window(data: memoryview) -> None:
    """Refuses a zstd frame that would make the decompressor allocate a large window (RFC 8878, 3.1.1.1)."""
    if len(data) < 6 or bytes(data[:4]) != _ZSTD_MAGIC:
        raise StoreCorruptError("a part is no zstd frame")
    if not data[4] & 0x20 and 10 + (data[5] >> 3) > _ZSTD_WINDOW:
        raise StoreCorruptError(f"a zstd frame asks for a window of 2**{10 + (data[5] >> 3)} bytes")

"""Checks SQLite's WAL before SQLite uses it: a torn end is normal, damage before the end is not.

Rules kept here (source: the file format that sqlite.org documents, "The Write-Ahead Log"):

* A frame is good if it has the salt of the header, and its checksum continues that of the previous frame. SQLite uses the
  good frames up to the last commit, and silently ignores the rest.
* A transaction that was not synced may be torn; no writer was told that it is stored. But if a frame continues from a
  commit, that commit was synced before: a bad frame before it is damage, and records would be lost.
* SQLite's index, the file ending in `-shm`, holds the number of committed frames, updated only after they are synced. If a
  process died and fewer good frames exist, that is damage as well. The index itself is not synced: a lower number in it
  proves nothing.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tsmodel.errors import StoreCorruptError

__all__ = ["Committed", "check_journal", "committed"]

_HEADER = struct.Struct(">IIIIIIII")
_FRAME = struct.Struct(">IIIIII")
_INDEX = struct.Struct("=IIIBBHIIII8sII")
_MAGIC: Final = 0x377F0682
_INDEX_VERSION: Final = 3007000
_MASK: Final = 2**32 - 1


class Committed(NamedTuple):
    """What the index says about a journal.

    Attributes:
        salt: salt of that journal.
        frames: number of committed frames; 0 if all of them are checkpointed.
    """

    salt: bytes
    frames: int


def committed(index: Path) -> Committed | None:
    """Reads SQLite's index of a journal; None if it does not exist or is being written. Only for files that this process
    does not have open: closing the index releases all locks on it."""
    try:
        with index.open("rb") as file:
            data = file.read(2 * _INDEX.size + 4)
    except OSError:
        return None
    if len(data) < 2 * _INDEX.size + 4 or data[: _INDEX.size] != data[_INDEX.size : 2 * _INDEX.size]:
        return None
    version, _, _, is_set, _, _, frames, _, _, _, salt, *stored = _INDEX.unpack_from(data)
    if version != _INDEX_VERSION or not is_set or _sums(data[:40], "=", (0, 0)) != tuple(stored):
        return None
    (taken_in,) = struct.unpack_from("=I", data, 2 * _INDEX.size)
    return Committed(salt, frames if taken_in < frames else 0)


def check_journal(path: Path, index: Committed | None = None) -> None:
    """Checks that a journal is not damaged before its end. It must not be written to meanwhile. Its index is read first.

    Raises:
        StoreCorruptError: if stored records would be lost.
    """
    data = path.read_bytes() if path.exists() else b""
    if len(data) <= _HEADER.size:
        return
    magic, _, page_size, _, salt1, salt2, *header_sums = _HEADER.unpack_from(data)
    size = _FRAME.size + page_size
    order = ">" if magic & 1 else "<"
    count = (len(data) - _HEADER.size) // size if 512 <= page_size <= 65536 else 0
    good_header = magic & ~1 == _MAGIC and _sums(data[:24], order, (0, 0)) == tuple(header_sums) and count >= 0
    if not good_header:
        # A new header is synced before the frames after it. So consecutive frames prove that there was a header, and so
        # does an index of the same journal that lists frames.
        if _has_commits(data) or (index is not None and index.frames and index.salt == data[16:24]):
            raise StoreCorruptError(f"the header of the journal {path} is damaged; stored records would be lost")
        return
    before = {tuple(header_sums)}
    is_good, before_commits, good = True, False, 0
    for at in range(_HEADER.size, _HEADER.size + count * size, size):
        _, commits, found1, found2, *stored = _FRAME.unpack_from(data, at)
        body = data[at : at + 8] + data[at + _FRAME.size : at + size]
        computed = {_sums(body, order, sums) for sums in before}
        fits = (found1, found2) == (salt1, salt2) and tuple(stored) in computed
        if not is_good and fits and before_commits:
            raise StoreCorruptError(f"the journal {path} is damaged before intact frames: stored records would be lost")
        is_good = is_good and fits
        good += is_good
        before_commits = bool(commits)
        # A bad frame may have bad contents or a bad checksum: the next frame continues from the correct value.
        before = {tuple(stored)} if fits else {tuple(stored), *computed}
        if len(before) > 4:
            before = {tuple(stored)}
    if index is not None and index.salt == data[16:24] and good < index.frames:
        raise StoreCorruptError(
            f"the journal {path} is damaged or truncated: {index.frames} of its frames were committed, but {good} are "
            "intact; stored records would be lost"
        )


def _has_commits(data: bytes) -> bool:
    """Whether the frames after a damaged header continue from one another across a commit."""
    for power in range(9, 17):
        size = _FRAME.size + 2**power
        starts = range(_HEADER.size, len(data) - size + 1, size)
        frames = [_FRAME.unpack_from(data, at) for at in starts[:64]]
        for at, (before, frame) in zip(starts[1:], pairwise(frames), strict=False):
            body = data[at : at + 8] + data[at + _FRAME.size : at + size]
            if frame[2:4] == before[2:4] and any(_sums(body, each, before[4:]) == frame[4:] for each in "<>"):
                return True
    return False


def _sums(data: bytes, order: str, start: tuple[int, ...]) -> tuple[int, int]:
    """The WAL checksum: s0 += x0 + s1; s1 += x1 + s0 over pairs of words. Both are linear in the words."""
    words = np.frombuffer(data, f"{order}u4").astype(np.uint32)
    pairs = len(words) // 2
    fibonacci = _fibonacci(2 * pairs + 2)
    even, odd = words[0::2], words[1::2]
    # A word followed by k pairs enters the sums multiplied by Fibonacci numbers.
    own, behind = fibonacci[1 : 2 * pairs : 2][::-1], fibonacci[2 : 2 * pairs + 1 : 2][::-1]
    before = fibonacci[0 : 2 * pairs - 1 : 2][::-1]
    first = int((even * own).sum(dtype=np.uint64) + (odd * before).sum(dtype=np.uint64))
    second = int((even * behind).sum(dtype=np.uint64) + (odd * own).sum(dtype=np.uint64))
    s0, s1 = start
    a, b, c = (int(fibonacci[2 * pairs + shift]) for shift in (-1, 0, 1))
    return (first + a * s0 + b * s1) & _MASK, (second + b * s0 + c * s1) & _MASK


@lru_cache(maxsize=4)
def _fibonacci(count: int) -> npt.NDArray[Any]:
    """Fibonacci numbers, modulo 2**32."""
    found = [0, 1]
    while len(found) < count:
        found.append((found[-1] + found[-2]) & _MASK)
    return np.array(found, np.uint32)

"""SQLite's journal, looked at before it is relied on: a torn end is normal, damage before it is not.

Rules kept here (source: the file format that sqlite.org documents, "The Write-Ahead Log"):

* A frame is good when it has the salt of the header and the checksum that continues from the frame before. SQLite uses the
  good frames up to the last one that commits, and ignores the rest without a word.
* A transaction that was not synced may be torn, and nobody was told that it is stored. But when a commit is followed by a
  frame that continues from it, that commit was synced before: a bad frame ahead of it is damage, and records would be lost.
* SQLite's index, the file with `-shm` behind its name, says how many frames were committed, and says so only after they
  were synced. When a process died and fewer good frames are there, that is damage, too. The index is not synced itself:
  what it lacks proves nothing.
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
    """What the index says of a journal.

    Attributes:
        salt: that of the journal which is meant.
        frames: how many of its frames are committed; 0 when all of them are in the main file.
    """

    salt: bytes
    frames: int


def committed(index: Path) -> Committed | None:
    """What SQLite's index of a journal says; None when there is none, or it is being written. Only for files that this
    process has not open: closing the index gives up all locks on it."""
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
    """Makes sure that a journal is not damaged before its end. Nobody may write to it meanwhile.

    Args:
        path: the journal.
        index: what its index said before.

    Raises:
        StoreCorruptError: when records that were stored would be lost.
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
        # A new header is synced before any frame that follows it. Frames that go together prove that one was there, and so
        # does an index of the same journal that counts some.
        if _has_commits(data) or (index is not None and index.frames and index.salt == data[16:24]):
            raise StoreCorruptError(f"the head of the journal {path} is damaged; records that were stored would be lost")
        return
    before = {tuple(header_sums)}
    is_good, before_commits, good = True, False, 0
    for at in range(_HEADER.size, _HEADER.size + count * size, size):
        _, commits, found1, found2, *stored = _FRAME.unpack_from(data, at)
        body = data[at : at + 8] + data[at + _FRAME.size : at + size]
        computed = {_sums(body, order, sums) for sums in before}
        fits = (found1, found2) == (salt1, salt2) and tuple(stored) in computed
        if not is_good and fits and before_commits:
            raise StoreCorruptError(
                f"the journal {path} is damaged, and later ones of its frames are not: stored records would be lost"
            )
        is_good = is_good and fits
        good += is_good
        before_commits = bool(commits)
        # Where a frame is bad it may be its contents or its checksum: the next one continues from what was right.
        before = {tuple(stored)} if fits else {tuple(stored), *computed}
        if len(before) > 4:
            before = {tuple(stored)}
    if index is not None and index.salt == data[16:24] and good < index.frames:
        raise StoreCorruptError(
            f"the journal {path} is damaged or truncated: {index.frames} of its frames were committed, and {good} are "
            "whole; stored records would be lost"
        )


def _has_commits(data: bytes) -> bool:
    """Whether frames behind a damaged header continue from one another over a commit."""
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
    """The journal's checksum: s0 += x0 + s1; s1 += x1 + s0 over pairs of words. Both are linear in the words."""
    words = np.frombuffer(data, f"{order}u4").astype(np.uint32)
    pairs = len(words) // 2
    fibonacci = _fibonacci(2 * pairs + 2)
    even, odd = words[0::2], words[1::2]
    # A word that is followed by k pairs reaches the sums multiplied by Fibonacci numbers.
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

"""Mutations of seed inputs, chosen at random among those that tend to break parsers."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["mutated", "mutated_text"]

_INTERESTING: Final = [0, 1, -1, 2, 4, 7, 8, 16, 28, 31, 32, 36, 64, 127, 128, 255, 256, 8000, 32767, 65535, 65536, 2**20]
_INTERESTING += [2**31 - 1, -(2**31), 2**32 - 1, 2**48, 2**62, 2**63 - 1, -(2**63), 2**64 - 1]
_WIDTHS: Final = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
_LONGEST: Final = 2**16


def mutated(chance: random.Random, seeds: Sequence[bytes], most: int = _LONGEST) -> bytes:
    """One of the seeds with some mutations, occasionally none."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice([0, 1, 1, 1, 2, 2, 3, 5, 10])):
        chance.choice(_CHANGES)(chance, data, seeds)
    return bytes(data[:most])


def mutated_text(chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One of the seeds with some JSON tokens changed."""
    data = chance.choice(seeds)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        tokens = _tokens(data)
        at = chance.randrange(len(tokens))
        way = chance.randrange(5)
        if way == 0:
            tokens[at] = chance.choice(words)
        elif way == 1:
            del tokens[at : at + chance.randint(1, 6)]
        elif way == 2:
            tokens[at:at] = tokens[at : at + chance.randint(1, 6)]
        elif way == 3:
            other = _tokens(chance.choice(seeds))
            start = chance.randrange(len(other))
            tokens[at : at + 1] = other[start : start + chance.randint(1, 6)]
        else:
            tokens[at] = mutated(chance, [tokens[at]])
        data = b"".join(tokens) or b"{}"
    return data


def _tokens(data: bytes) -> list[bytes]:
    import re

    return re.findall(rb'"(?:[^"\\]|\\.)*"|[-+.\w]+|\s+|.', data, re.DOTALL) or [b" "]


def _flip(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _byte(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _number(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """Overwrites a number or adds to it."""
    width = chance.choice(list(_WIDTHS))
    if len(data) < width:
        return
    at = chance.randrange(len(data) - width + 1)
    form = _WIDTHS[width]
    (found,) = struct.unpack_from(form, data, at)
    value = chance.choice(_INTERESTING) if chance.random() < 0.5 else found + chance.choice([-4, -1, 1, 4, 255])
    struct.pack_into(form, data, at, value % 2 ** (8 * width))


def _cut(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        start = chance.randrange(len(data))
        del data[start : start + chance.choice([1, 4, 8, 40, 1000])]


def _end(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _repeat(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data and len(data) < _LONGEST:
        start = chance.randrange(len(data))
        some = data[start : start + chance.choice([1, 4, 8, 40, 1000])]
        at = chance.randrange(len(data) + 1)
        data[at:at] = some


def _splice(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    other = chance.choice(seeds)
    start = chance.randrange(len(other) + 1)
    at = chance.randrange(len(data) + 1)
    data[at:] = other[start:]


def _insert(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.choice([1, 2, 4, 8, 12]))


_CHANGES: list[Callable[[random.Random, bytearray, Sequence[bytes]], None]] = [
    _flip, _byte, _number, _number, _number, _cut, _end, _repeat, _splice, _insert,
]  # fmt: skip

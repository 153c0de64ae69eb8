"""Hexdumps show up to 128 bytes and count the rest."""

from __future__ import annotations

import re

import pytest

from tsmodel.model.model import hexdump


def test_one_line() -> None:
    assert hexdump(b"tsmodel") == f"  0000  {'74 73 6d 6f 64 65 6c':<48} tsmodel"


def test_empty() -> None:
    assert hexdump(b"") == ""


def test_unprintable_bytes_are_dots() -> None:
    everything = hexdump(bytes(range(16, 48))) + hexdump(bytes(range(112, 128))) + hexdump(b"\xff\x80\n\t\0")
    shown = "".join(re.findall(r"  [0-9a-f]{4}  .{48} (.{1,16})", everything))
    assert shown == "." * 16 + " !\"#$%&'()*+,-./" + "pqrstuvwxyz{|}~." + "....."


@pytest.mark.parametrize("length", [1, 15, 16, 17, 32, 127, 128])
def test_up_to_128_bytes_are_shown(length: int) -> None:
    data = bytes(range(60, 188))[:length]
    lines = hexdump(data).splitlines()
    assert len(lines) == -(-length // 16)
    assert [int(line[2:6], 16) for line in lines] == list(range(0, length, 16))
    assert bytes.fromhex("".join(line[8:56] for line in lines)) == data


@pytest.mark.parametrize(("length", "more"), [(130, 2), (1000, 872), (33_554_432, 33_554_304)])
def test_remaining_bytes_are_counted(length: int, more: int) -> None:
    data = bytes(length)
    lines = hexdump(data).splitlines()
    assert lines[:8] == hexdump(data[:128]).splitlines()
    assert lines[8:] == [f"  … {more} more bytes"]

"""Bytes for a person to read."""

from __future__ import annotations

__all__ = ["hexdump"]

_WIDTH = 16
_MOST = 128


def hexdump(data: bytes) -> str:
    """Offsets, hex and ASCII, 16 bytes a line, the first 128 bytes.

    >>> print(hexdump(b"tsmodel"))
      0000  74 73 6d 6f 64 65 6c                             tsmodel
    """
    lines = []
    for offset in range(0, min(len(data), _MOST), _WIDTH):
        part = data[offset : offset + _WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"  {offset:04x}  {part.hex(' '):<{3 * _WIDTH}} {text}")
    if len(data) > _MOST:
        lines.append(f"  … {len(data) - _MOST} more bytes")
    return "\n".join(lines)

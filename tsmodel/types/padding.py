"""`Padding`: bytes that mean nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from tsmodel.types.declaring import FieldType, Options, size_of


class PaddingBytes(msgspec.Struct, frozen=True):
    """Bytes that mean nothing: written as zeros, not looked at when read."""

    size: int


class Padding(FieldType[None]):
    """Bytes that mean nothing: written as zeros, not looked at when read. No attribute of the model.

    Write `_gap: Padding = padding(3)`; a name may begin with an underscore here."""

    takes = ("size",)
    examples = ()

    @classmethod
    def codec(cls, argument: Any, options: Options) -> PaddingBytes:
        """See `FieldType.codec`."""
        size = size_of(options)
        if size is None:
            raise ValueError("write _gap: Padding = padding(3)")
        return PaddingBytes(size)

"""`Padding`: unused bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from tsmodel.types.declaring import FieldType, Options, size_of


class PaddingBytes(msgspec.Struct, frozen=True):
    """Unused bytes, written as zeros and ignored on reading."""

    size: int


class Padding(FieldType[None]):
    """Unused bytes, written as zeros and ignored on reading. Padding is not an attribute of the model.

    Write `_gap: Padding = padding(3)`. Unlike other fields, padding may have a leading underscore.
    """

    takes = ("size",)
    examples = ()

    @classmethod
    def codec(cls, argument: Any, options: Options) -> PaddingBytes:
        """See `FieldType.codec`."""
        size = size_of(options)
        if size is None:
            raise ValueError("write _gap: Padding = padding(3)")
        return PaddingBytes(size)

"""`Record`: a key and a value."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from tsmodel.keys import Key, pose_as_dataclass

__all__ = ["Key", "Record"]

T = TypeVar("T")


# gc=False: a value hardly ever refers back to its record. Otherwise the garbage collector would visit every record of a
# large answer again and again, which takes half of the time of reading it.
class Record(msgspec.Struct, Generic[T], frozen=True, order=True, gc=False):
    """A key and a value of the channel's payload type, ordered by both. A dataclass to other libraries, like `Key`.

    Attributes:
        key: the key of the record.
        value: the decoded payload.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    key: Key
    value: T


pose_as_dataclass(Record)

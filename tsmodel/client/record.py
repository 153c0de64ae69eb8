"""`Record`: a key and a value."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from tsmodel.keys import Key, pose_as_dataclass

__all__ = ["Key", "Record"]

T = TypeVar("T")


# A value hardly ever refers back to its record, and the collector would look at every record of a large answer again and
# again: half of the time of reading one.
class Record(msgspec.Struct, Generic[T], frozen=True, order=True, gc=False):
    """A key bound to a value of the channel's payload type. Ordered by both; passes for a dataclass, as `Key` does.

    Attributes:
        key: where the record lies.
        value: what it holds.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    key: Key
    value: T


pose_as_dataclass(Record)

"""A model as the payload type of a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tsmodel.client.payload_type import PayloadType
from tsmodel.codec import RowCodec

if TYPE_CHECKING:
    from tsmodel.model.base import TSModel

__all__ = ["ModelPayloadType"]

M = TypeVar("M", bound="TSModel")

_UNSET_KEY = (-1, -1, -1, -1, -1)


class ModelPayloadType(PayloadType[M]):
    """Serializes the payload fields of a model; `Reading.payload_type` is one, for any channel of the official shape."""

    def __init__(self, codec: RowCodec[M]) -> None:
        self._codec = codec

    def to_bytes(self, value: M) -> bytes:
        """The payload fields of `value`; its key is not part of it.

        Raises:
            EncodeError: when a field has the wrong type or is out of range.
        """
        return self._codec.payload_of(value)

    def from_bytes(self, buffer: bytes | memoryview) -> M | None:
        """An object whose key is unset (all -1), or None when `buffer` does not have the layout's size."""
        payload = self._codec.payload
        if len(buffer) != payload.size:
            return None
        return self._codec.make(*_UNSET_KEY, *payload.unpack(buffer))

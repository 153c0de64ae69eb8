"""Payload types, under the official client's module name."""

from tsmodel.client.numpy_payload_type import NumpyPayloadType
from tsmodel.client.payload_types import (
    BytesPayloadType,
    PayloadType,
    StructPayloadType,
    TuplePayloadType,
    UnitPayloadType,
)

__all__ = [
    "BytesPayloadType",
    "NumpyPayloadType",
    "PayloadType",
    "StructPayloadType",
    "TuplePayloadType",
    "UnitPayloadType",
]

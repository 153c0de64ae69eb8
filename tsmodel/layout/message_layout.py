"""Payloads that are one MessagePack or JSON message: a map from field names to values.

Rules kept here:

* Fields are identified by name. A message may lack fields that have a default, and may have unknown fields, which are
  ignored. So a message that is read and written again need not have the same bytes.
* A value must be in the range of its field type, as in a byte layout, although a message has no widths.
* JSON has no non-finite numbers. Such floats are rejected at any depth, because they would become null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Literal

import msgspec

from tsmodel.layout.placing import Layout, LayoutError, LayoutField
from tsmodel.types.codec import Description, FieldCodec
from tsmodel.types.declaring import PaddingBytes
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.packed import coders, may_not_be_finite, not_finite
from tsmodel.types.scalars import shown

__all__ = ["Encoding", "MessageLayout"]

Encoding = Literal["struct", "msgpack", "json"]

_UNFIT: Final = (msgspec.MsgspecError, TypeError, ValueError, RecursionError)


class MessageLayout(Layout, frozen=True):
    """The fields of a message.

    Attributes:
        encoding: `msgpack` or `json`.
        message: the class that decodes a message.
    """

    encoding: Encoding = "msgpack"
    message: type = msgspec.Struct

    @cached_property
    def _coders(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        return coders(self.encoding, self.message)

    @classmethod
    def of_message(
        cls,
        fields: Sequence[tuple[str, FieldCodec | PaddingBytes]],
        encoding: Encoding,
        name: str,
        defaults: Mapping[str, Callable[[], object]],
        version: int | None = None,
    ) -> MessageLayout:
        """Makes the layout of named fields; `defaults` has factories for the fields that a message may lack.

        Raises:
            LayoutError: if a field cannot be part of a message.
        """
        placed = []
        module: Any = getattr(msgspec, encoding)
        for field, codec in fields:
            if isinstance(codec, PaddingBytes):
                raise LayoutError(f"{field} cannot be stored in a message; use another type, or encoding='struct'")
            if (why := codec.unencodable(module)) is not None:
                reason = f": {why}" if why else ""
                raise LayoutError(f"{field} cannot be stored in a message{reason}; use another type, or encoding='struct'")
            placed.append(LayoutField(field, codec, None, field))
        members: list[Any] = [
            (field.name, field.codec.message_type, msgspec.field(default_factory=defaults[field.name]))
            if field.name in defaults
            else (field.name, field.codec.message_type)
            for field in placed
        ]
        message = msgspec.defstruct(name, members, kw_only=True)
        return cls(tuple(placed), "little", None, version=version, encoding=encoding, message=message)

    def read(self, payload: bytes) -> tuple[Any, ...]:
        self.check_version(payload)
        try:
            message = self._coders[1](payload[self.leading :])
        except _UNFIT as error:
            raise FieldFault(f"it is not a {self.encoding} message with these fields: {error}") from None
        values = msgspec.structs.astuple(message)
        for field, value in zip(self.fields, values, strict=True):
            if fault := field.codec.fault(value):
                raise fault.within(field.name)
        return values

    def fault(self, field: LayoutField, value: object) -> FieldFault | None:
        if fault := super().fault(field, value) or (not_finite(value) if self.encoding == "json" else None):
            return fault
        module: Any = getattr(msgspec, self.encoding)
        try:
            module.decode(module.encode(value), type=field.codec.message_type)
        except _UNFIT:
            what = f"{shown(value)} ({type(value).__name__})"
            return FieldFault(f"{what} cannot be stored in a message: give {field.codec.accepts}, as a plain Python object")
        return None

    def write(self, values: Sequence[Any]) -> bytes:
        for field, value in zip(self.fields, values, strict=True):
            if fault := field.codec.fault(value):
                raise fault.within(field.name)
        encode, decode = self._coders
        try:
            raw = encode(dict(zip(self.names, values, strict=True)))
            decode(raw)  # in a message, a Decimal is text, and True is not a number
        except _UNFIT as error:
            self._refuse(values)
            raise FieldFault(f"it cannot be stored as a message: {error}") from error
        if self.encoding == "json" and may_not_be_finite(raw):
            self._refuse(values)
        return raw if self.version is None else bytes([self.version]) + raw

    def _refuse(self, values: Sequence[Any]) -> None:
        """Raises the first fault of the values; returns if they have none."""
        for field, value in zip(self.fields, values, strict=True):
            if fault := self.fault(field, value):
                raise fault.within(field.name)

    def description(self) -> Description:
        """See `Layout.description`: in a message, fields have no position."""
        whole: Description = {"encoding": self.encoding}
        if self.version is not None:
            whole["version"] = self.version
        whole["fields"] = [{"name": field.name, **field.codec.description()} for field in self.fields]
        return whole

    def __str__(self) -> str:
        rows = [("type", "field"), *((field.codec.label, field.name) for field in self.fields)]
        wide = max(len(row[0]) for row in rows)
        behind = "" if self.version is None else f", after a version byte of {self.version}"
        return "\n".join([*(f"{label:<{wide}}  {name}" for label, name in rows), f"a map, as {self.encoding}{behind}"])

"""Arrays, structures in place, values that may be absent, and messages, in plain data and in cells.

Rules kept here:

* All faults of a value are found, each with its path in the value. In a cell, what is more than one value is JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import msgspec.inspect
import numpy as np

from tsmodel.codec import FieldCodec, FieldFault
from tsmodel.codec.field import UNSUITABLE
from tsmodel.codec.lengths import ArrayCodec, PackedCodec
from tsmodel.codec.numbers import ScalarCodec
from tsmodel.codec.plain import parts_of
from tsmodel.codec.scalars import shown
from tsmodel.codec.sequences import FixedArrayCodec
from tsmodel.codec.sequences import Sequence as Items
from tsmodel.model.conversion.base import Conversion, Misfits, Spelling, faults_of, json_decoder, with_floats
from tsmodel.model.conversion.structures import Structure

__all__ = ["ArrayConversion", "NestedConversion", "NullableConversion", "PackedConversion"]


def _of_json(conversion: Conversion, text: str, what: str) -> Any:
    try:
        return json_decoder(conversion.has_decimals, conversion.plain)(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FieldFault(f"{shown(text)} is not {what} in JSON: {error}") from None


def _to_json(data: Any) -> str:
    return msgspec.json.encode(data).decode()


class ArrayConversion(Conversion):
    """A list of items."""

    codec: ArrayCodec | FixedArrayCodec
    shareable = False

    def __init__(self, codec: ArrayCodec | FixedArrayCodec, spelling: Spelling, item: Conversion) -> None:
        super().__init__(codec, spelling)
        self._item = item
        self._length = codec.length if isinstance(codec, FixedArrayCodec) else None
        self.has_decimals = item.has_decimals

    def plain(self, data: Any) -> Any:
        return list(map(self._item.plain, data)) if isinstance(data, list) else with_floats(data)

    @property
    def accepts(self) -> str:
        return f"a list of items, each {self._item.accepts}"

    def load(self, data: Any) -> Any:
        if isinstance(data, np.ndarray) and data.ndim == 1:
            data = data.tolist()
        if not isinstance(data, (list, tuple)):
            raise self.refused(data)
        try:
            items = self._item.load_column(data)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            items = self._one_by_one(data)
        self.held(items)
        if not self.codec.as_numpy:
            return items
        return Items(self.codec.item, self._length, True).load(Items(self.codec.item, self._length, False).dump(items))

    def _one_by_one(self, data: Sequence[Any]) -> list[Any]:
        faults = [fault for at, each in enumerate(data) for fault in faults_of(self._item, str(at), each, self._item.load)]
        if faults:
            raise Misfits(faults)
        return [self._item.load(each) for each in data]

    def parse(self, text: str) -> Any:
        return self.load(_of_json(self, text, "a list"))

    def dump(self, value: Any) -> Any:
        self.held(value)
        if self.codec.as_numpy:
            octets = Items(self.codec.item, self._length, True).dump(value)
            value = Items(self.codec.item, self._length, False).load(octets)
        if isinstance(self.codec.item, ScalarCodec) and isinstance(value, np.ndarray):
            value = value.tolist()
        try:
            return list(self._item.dump_column(value))
        except UNSUITABLE:
            return [self._item.dump(each) for each in value]

    def show(self, value: Any) -> Any:
        return _to_json(self.dump(value))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self._item.schema(definitions)}
        if self._length is not None:
            schema |= {"minItems": self._length, "maxItems": self._length}
        return schema


class NestedConversion(Conversion):
    """An object of the structure's fields."""

    shareable = False

    def __init__(self, codec: FieldCodec, spelling: Spelling, structure: Structure) -> None:
        super().__init__(codec, spelling)
        self.structure = structure
        self.has_decimals = structure.has_decimals

    def plain(self, data: Any) -> Any:
        return self.structure.plain(data)

    @property
    def accepts(self) -> str:
        return f"an object of the fields of {self.structure.name}"

    def load(self, data: Any) -> Any:
        return self.held(data) if isinstance(data, self.structure.model) else self.structure.load(data)

    def parse(self, text: str) -> Any:
        return self.load(_of_json(self, text, "an object"))

    def dump(self, value: Any) -> Any:
        if not isinstance(value, self.structure.model):
            raise self.codec.fault(value) or self.refused(value)
        return self.structure.dump(value)

    def show(self, value: Any) -> Any:
        return _to_json(self.dump(value))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return self.structure.reference(definitions)


class NullableConversion(Conversion):
    """A value, or null: the empty cell, or what a file has in its place."""

    nullable = True

    def __init__(self, codec: FieldCodec, spelling: Spelling, item: Conversion) -> None:
        super().__init__(codec, spelling)
        self.item = item
        self.shareable = item.shareable
        self.has_decimals = item.has_decimals

    def plain(self, data: Any) -> Any:
        return self.item.plain(data)

    @property
    def accepts(self) -> str:
        return f"null or {self.item.accepts}"

    def load(self, data: Any) -> Any:
        return None if data is None else self.held(self.item.load(data))

    def parse(self, text: str) -> Any:
        return self.held(self.item.parse(text))

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        return self._present(data, self.item.load_column)

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        return self._present(texts, self.item.parse_column)

    def dump(self, value: Any) -> Any:
        return None if value is None else self.item.dump(self.held(value))

    def show(self, value: Any) -> Any:
        return None if value is None else self.item.show(self.held(value))

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self._present(values, self.item.dump_column)

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return self._present(values, self.item.show_column)

    def _present(self, data: Sequence[Any], convert: Callable[[Sequence[Any]], Sequence[Any]]) -> list[Any]:
        """Converts what is not None."""
        if None in data:
            values = iter(convert([each for each in data if each is not None]))
            return [None if each is None else next(values) for each in data]
        return list(convert(data))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [self.item.schema(definitions), {"type": "null"}]}


class SentinelConversion(NullableConversion):
    """A value, or null; the field has a value of its own for null, which is no value."""

    def _present(self, data: Sequence[Any], convert: Callable[[Sequence[Any]], Sequence[Any]]) -> list[Any]:
        values = super()._present(data, convert)
        for value in data if convert in (self.item.dump_column, self.item.show_column) else values:
            self.held(value)
        return values


class PackedConversion(Conversion):
    """What msgspec makes of the message's type."""

    codec: PackedCodec
    shareable = False

    def __init__(self, codec: PackedCodec, spelling: Spelling) -> None:
        super().__init__(codec, spelling)
        parts = parts_of(codec.kind)
        is_loose = any(isinstance(part, msgspec.inspect.AnyType) for part in parts)  # and takes decimals for themselves
        self.has_decimals = not is_loose and any(isinstance(part, msgspec.inspect.DecimalType) for part in parts)

    def plain(self, data: Any) -> Any:
        return data if self.has_decimals else with_floats(data)

    def load(self, data: Any) -> Any:
        try:
            value = msgspec.convert(data, self.codec.kind, str_keys=True)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise FieldFault(str(error)) from None
        return self.held(value)

    def parse(self, text: str) -> Any:
        return self.load(_of_json(self, text, self.accepts))

    def dump(self, value: Any) -> Any:
        data = msgspec.to_builtins(self.held(value), str_keys=True)
        if not _is_json(data):
            raise FieldFault(f"{shown(value)} has a float that is not finite, for which JSON has no number")
        return data

    def show(self, value: Any) -> Any:
        return _to_json(self.dump(value))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        suffix = ""
        while True:
            template = f"#/$defs/{{name}}{suffix}"
            (schema,), found = msgspec.json.schema_components([self.codec.kind], ref_template=template)
            named = {name + suffix: each for name, each in found.items()}
            if all(definitions.get(name, each) == each for name, each in named.items()):
                definitions |= named
                return schema
            suffix += "_"  # there are others of these names


def _is_json(data: Any) -> bool:
    if isinstance(data, float):
        return math.isfinite(data)
    if isinstance(data, dict):
        return all(map(_is_json, data.values()))
    return not isinstance(data, list) or all(map(_is_json, data))

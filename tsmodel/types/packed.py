"""`Packed`: any value that msgspec can encode, as MessagePack or JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import inspect

from tsmodel.types.blob import LengthCodec
from tsmodel.types.codec import Description, Structures, parts_of, unencodable
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.integers import UInt16
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Conversion, Spelling, of_json, to_json, with_floats

if TYPE_CHECKING:
    from tsmodel.types.kinds import Kind


def coders(encoding: str, kind: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """Functions that encode any value, and decode values of a type."""
    module: Any = getattr(msgspec, encoding)
    return module.Encoder().encode, module.Decoder(kind).decode


class PackedCodec(LengthCodec, frozen=True, kw_only=True):
    """Any value that msgspec can encode, as MessagePack or JSON."""

    kind: Any
    encoding: Literal["msgpack", "json"] = "msgpack"

    def __post_init__(self) -> None:
        if why := unencodable(self.kind, getattr(msgspec, self.encoding)):
            raise TypeError(why)

    @cached_property
    def _coders(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        return coders(self.encoding, self.kind)

    @property
    def what(self) -> str:
        return f"Packed[{getattr(self.kind, '__name__', self.kind)}] {self.encoding}"

    @property
    def python(self) -> Any:
        return self.kind

    acyclic: ClassVar[bool] = False
    comparisons: ClassVar[Literal["equality"]] = "equality"

    @property
    def accepts(self) -> str:
        return f"a value that msgspec accepts as {self.kind}"

    def content(self, raw: bytes) -> Any:
        try:
            return self._coders[1](raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise FieldFault(f"{self.what}: {error}") from None

    def to_bytes(self, value: Any) -> bytes:
        try:
            encode, decode = self._coders
            raw = encode(value)
            if self.encoding == "json" and may_not_be_finite(raw) and (fault := not_finite(value)):
                raise fault
            decode(raw)  # ensures that the value can be read back
        except FieldFault:
            raise
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise FieldFault(f"{shown(value)} cannot be stored as {self.what}: {error}") from error
        return raw

    def description(self) -> Description:
        content = _shape(inspect.type_info(self.kind), ())
        return {"type": "Packed", **self.described_length, "encoding": self.encoding, "content": content}

    def reading(self) -> Description:
        limits = dict(_limits_within(inspect.type_info(self.kind), "", ()))
        return {"limits": limits} if limits else {}

    def conversion(self, spelling: Spelling) -> Conversion:
        return PackedConversion(self, spelling)

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import Bytes

        return Bytes(None, self.prefix, self.byte_order, self.what)

    def arrow_type(self, pa: Any) -> Any:
        return pa.binary()

    def arrow_value(self, value: Any) -> Any:
        return self.to_bytes(value)

    def objects_from_arrow(self, pa: Any, array: Any) -> list[Any]:
        return [self.content(value) if isinstance(value, bytes) else value for value in array.to_pylist()]


class PackedConversion(Conversion):
    """Converts values of the message type with msgspec."""

    codec: PackedCodec
    shareable = False

    def __init__(self, codec: PackedCodec, spelling: Spelling) -> None:
        super().__init__(codec, spelling)
        parts = parts_of(codec.kind)
        is_loose = any(isinstance(part, inspect.AnyType) for part in parts)  # accepts decimals as they are
        self.has_decimals = not is_loose and any(isinstance(part, inspect.DecimalType) for part in parts)

    def plain(self, data: Any) -> Any:
        return data if self.has_decimals else with_floats(data)

    def load(self, data: Any) -> Any:
        try:
            value = msgspec.convert(data, self.codec.kind, str_keys=True)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise FieldFault(str(error)) from None
        return self.held(value)

    def parse(self, text: str) -> Any:
        return self.load(of_json(self, text, self.accepts))

    def dump(self, value: Any) -> Any:
        data = msgspec.to_builtins(self.held(value), str_keys=True)
        if _within(data, ""):
            raise FieldFault(f"{shown(value)} has a non-finite float, which JSON cannot represent")
        return data

    def show(self, value: Any) -> Any:
        return to_json(self.dump(value))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        suffix = ""
        while True:
            template = f"#/$defs/{{name}}{suffix}"
            (schema,), found = msgspec.json.schema_components([self.codec.kind], ref_template=template)
            named = {name + suffix: each for name, each in found.items()}
            if all(definitions.get(name, each) == each for name, each in named.items()):
                definitions |= named
                return schema
            suffix += "_"  # other definitions have these names


LIMITS: Final = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
"""Names of constraints."""

_UNSTORED: Final = {"cls", "default", "default_factory", "tz", "forbid_unknown_fields", *LIMITS}


def _shape(node: Any, within: tuple[Any, ...]) -> Any:
    if isinstance(node, (list, tuple)):
        return [_shape(each, within) for each in node]
    if isinstance(node, inspect.EnumType):
        return {"kind": "Enum", "values": sorted(str(member.value) for member in node.cls)}
    if isinstance(node, inspect.CustomType):
        return {"kind": node.cls.__name__}
    if isinstance(node, inspect.UnionType):
        shapes = [_shape(each, within) for each in node.types]
        return {"kind": "Union", "types": sorted(shapes, key=lambda shape: msgspec.json.encode(shape, order="sorted"))}
    if isinstance(node, inspect.Field):
        shape = {"name": node.encode_name, "of": _shape(node.type, within)}
        return shape if node.required else {**shape, "optional": True}
    if not isinstance(node, inspect.Type):
        return node if node is None or isinstance(node, (bool, int, float, str)) else str(node)
    cls = getattr(node, "cls", None)
    if cls is not None and cls in within:
        return {"kind": "the same again", "up": len(within) - within.index(cls)}
    inner = within if cls is None else (*within, cls)
    shape = {"kind": type(node).__name__.removesuffix("Type")}
    for name in node.__struct_fields__:
        if name not in _UNSTORED:
            shape[name] = _shape(getattr(node, name), inner)
    return shape


def plain_limit(limit: Any) -> Any:
    """Converts a limit to plain JSON data."""
    return limit if isinstance(limit, (bool, int, float, str)) else str(limit)


def _limits_within(node: Any, path: str, within: tuple[Any, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the limits of each part of a msgspec type, with its path."""
    if isinstance(node, (list, tuple)):
        for at, each in enumerate(node):
            yield from _limits_within(each, f"{path}[{at}]", within)
        return
    if not isinstance(node, (inspect.Type, inspect.Field)) or isinstance(node, (inspect.EnumType, inspect.CustomType)):
        return
    cls = getattr(node, "cls", None)
    if cls is not None and cls in within:
        return
    found = {name: plain_limit(limit) for name in (*LIMITS, "tz") if (limit := getattr(node, name, None)) is not None}
    if getattr(node, "forbid_unknown_fields", False):
        found["forbid_unknown_fields"] = True
    default = getattr(node, "default", msgspec.NODEFAULT)
    if default is None or isinstance(default, (bool, int, float, str, bytes, Enum)):
        found["default"] = repr(default)
    if found:
        yield path or ".", found
    for name in node.__struct_fields__:
        if name not in ("cls", "default", "default_factory", *LIMITS):
            step = f"{path}.{node.encode_name}" if isinstance(node, inspect.Field) else path
            inner = within if cls is None else (*within, cls)
            yield from _limits_within(getattr(node, name), step if name in ("type", "fields") else f"{step}/{name}", inner)


T = TypeVar("T")


class Packed(FieldType[T]):
    """Any value of a type that msgspec supports, such as dicts, lists, Structs and dataclasses.

    Values are stored as MessagePack, or as JSON with `encoding="json"`. They have a length prefix of type `prefix` (UInt16
    by default), which counts bytes, or consume the rest of the payload with `rest=True`.
    """

    takes = ("encoding", "prefix", "rest", "byte_order")
    examples = ("Packed[dict[str, str]]", 'Packed[dict[str, str]] = field(encoding="json", rest=True)')

    @classmethod
    def codec(cls, argument: Any, options: Options) -> PackedCodec:
        if argument is None:
            raise ValueError("write Packed[dict[str, str]], or another type in the brackets")
        encoding = options.take("encoding", "msgpack")
        if encoding not in ("msgpack", "json"):
            raise ValueError(f'encoding={encoding!r} is not "msgpack" or "json"')
        try:
            return PackedCodec(options.prefix(UInt16), options.byte_order, kind=argument, encoding=encoding)
        except (TypeError, msgspec.MsgspecError) as error:
            raise ValueError(f"msgspec does not support {argument!r}: {error}") from error


def may_not_be_finite(raw: bytes) -> bool:
    """Whether JSON may contain a non-finite float, which becomes null, or the text nan or inf as a key."""
    return b"null" in raw or b"nan" in raw or b"inf" in raw


def not_finite(value: object) -> FieldFault | None:
    """Returns the fault of a value that contains a non-finite float, for JSON; None if there is none."""
    try:
        found = _within(value if isinstance(value, float) else msgspec.to_builtins(value), "")
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return None  # msgspec rejects it anyway
    if found is None:
        return None
    path, number = found
    return FieldFault(f"{number!r} cannot be stored as JSON, which has numbers only for finite floats", field=path)


def _within(data: Any, path: str) -> tuple[str, float] | None:
    """Returns the first non-finite float, and the dotted path to it."""
    if isinstance(data, float):
        return None if math.isfinite(data) else (path, data)
    if isinstance(data, dict):
        members = [(each, name) for name in data for each in (name, data[name])]
    elif isinstance(data, (list, tuple, set, frozenset)):
        members = [(each, at) for at, each in enumerate(data)]
    else:
        return None
    for each, name in members:
        if found := _within(each, f"{path}.{name}" if path else str(name)):
            return found
    return None

"""`FieldType`: how a field is declared, and the options it takes.

For a checker a field type is a descriptor: `reading.volts` is a float, `Reading.volts` a `Column[float]`. At run time it
only makes the field's codec: the metaclass replaces each annotation by the plain Python type before msgspec sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, get_args, get_origin, overload

import msgspec

from tsmodel.errors import SchemaError
from tsmodel.types.codec import FieldCodec, FixedCodec
from tsmodel.types.scalars import ByteOrder, Scalar

if TYPE_CHECKING:
    from tsmodel.model.column import Column
    from tsmodel.types.padding import PaddingBytes

__all__ = ["SCHEMA", "Declaration", "FieldType", "MissingOption", "Options", "declaration_of", "did_you_mean", "size_of"]

T = TypeVar("T")

SCHEMA: Final = "__tsmodel_schema__"
"""Attribute of a model class that holds its schema."""


class MissingOption(ValueError):  # noqa: N818 - it becomes part of an error
    """An option that must be given is not."""


class Options:
    """The options of a field type, each to be taken by the type or types that know it.

    Raises:
        ValueError: from `done`, when one was not taken.
    """

    def __init__(self, given: Mapping[str, Any], byte_order: ByteOrder) -> None:
        self._given = dict(given)
        self._settled: Mapping[str, Any] = {}
        self.byte_order: ByteOrder = self._given.pop("byte_order", byte_order)

    def under(self, settled: Mapping[str, Any]) -> Options:
        """The same options, of which some are settled already: `done` refuses those when they are given as well."""
        options = Options({}, settled.get("byte_order", self.byte_order))
        options._given, options._settled = self._given, settled
        return options

    def take(self, name: str, default: Any = None) -> Any:
        """The value of an option."""
        return self._settled[name] if name in self._settled else self._given.pop(name, default)

    def require(self, name: str, example: str) -> Any:
        """The value of an option that must be given."""
        if name not in self._settled and name not in self._given:
            raise MissingOption(f"it takes field({name}={example})")
        return self.take(name)

    def storage(self, default: type[FieldType[Any]] | None = None, *, signed: bool = True) -> Scalar:
        """The integer that `storage=` names."""
        kind = self.take("storage", default)
        if kind is None:
            raise MissingOption("it takes field(storage=UInt8), or another integer type: how it is stored")
        return _integer(kind, "storage", signed)

    def prefix(self, default: type[FieldType[Any]]) -> Scalar | None:
        """The length before the content; None when the content takes the rest of the payload."""
        rest, given = self.take("rest", False), self.take("prefix")
        if not rest:
            return _integer(given or default, "prefix", signed=False)
        if given is not None:
            raise ValueError("it takes prefix= or rest=True, not both")
        return None

    def done(self, label: str, takes: Sequence[str] = ()) -> None:
        """Refuses what is left; `takes` are the options that there are."""
        if self._given:
            left = ", ".join(f"{name}={value!r}" for name, value in self._given.items())
            what = f"takes {', '.join(takes)}" if takes else "takes none"
            raise ValueError(f"{label} has no use for {left}; of the options about storage it {what}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean size?"` for a name like one of those that are known; otherwise nothing."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _integer(kind: object, option: str, signed: bool) -> Scalar:
    scalar = getattr(kind, "scalar", None)
    if not isinstance(scalar, Scalar) or scalar.kind != "int" or not (signed or scalar.name.startswith("U")):
        wanted = "an integer type such as Int32" if signed else "UInt8, UInt16, UInt32 or UInt64"
        raise ValueError(f"{option}={getattr(kind, '__name__', kind)} is not {wanted}")
    return scalar


class FieldType(Generic[T]):
    """A way to store a value of type T. Used as an annotation in a model, never instantiated."""

    takes: ClassVar[tuple[str, ...]] = ()
    """Names of its options, for documentation and messages."""

    examples: ClassVar[tuple[str, ...] | None] = None
    """What may stand behind `name: ` in a class body, for documentation; None for nothing but its name."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if getattr(cls.codec, "__func__", None) is FieldType.codec.__func__:  # type: ignore[attr-defined]
            raise SchemaError(
                f"class {cls.__name__}: a field type says how it is stored: derive it from Converted[...], to store it as "
                "another type, or from Encoded[...], to store bytes of its own",
                model=cls.__name__,
            )

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec | PaddingBytes:
        """How a field of this type is stored.

        Args:
            argument: what stands in the brackets, `Enumerated[State]`; None without brackets.
            options: what `field()` was told.

        Raises:
            ValueError: when an option is missing or not valid; the message says what to write.
        """
        raise ValueError(f"{cls.__name__} cannot be the type of a field")

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type[object]) -> Column[T]: ...
        @overload
        def __get__(self, instance: object, owner: type[object]) -> T: ...
        def __get__(self, instance: object, owner: type[object]) -> Column[T] | T: ...
        def __set__(self, instance: object, value: T) -> None: ...


class Declaration(msgspec.Struct, frozen=True):
    """A field type as an annotation names it: `Enumerated[State]` is its type and its argument."""

    field_type: type[FieldType[Any]]
    argument: Any = None

    def codec(self, options: Options) -> FieldCodec | PaddingBytes:
        """See `FieldType.codec`."""
        return self.field_type.codec(self.argument, options)

    def fixed(self, options: Options, what: str) -> FixedCodec:
        """The same, for a place that takes fields of fixed width only.

        Raises:
            ValueError: when the width is not fixed.
        """
        codec = self.codec(options)
        if isinstance(codec, FieldCodec) and codec.as_fixed is not None:
            return codec.as_fixed
        raise ValueError(f"{what} has a fixed width, and {self.field_type.__name__} does not")


def declaration_of(annotation: object) -> Declaration | None:
    """What an annotation, or an `item=`, says; None when it names no field type."""
    if isinstance(annotation, type) and issubclass(annotation, FieldType):
        return Declaration(annotation)
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, FieldType):
        (argument,) = get_args(annotation)
        return Declaration(origin, argument)
    return None


def size_of(options: Options) -> int | None:
    """The value of `size=`, in bytes."""
    size: int | None = options.take("size")
    if size is not None and (type(size) is not int or not 1 <= size <= 2**25):
        raise ValueError(f"size={size!r} is not an int from 1 to {2**25}")
    return size

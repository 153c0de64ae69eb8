"""`FieldType`: how a field is declared, and its options.

To a type checker a field type is a descriptor: `reading.volts` is a float, `Reading.volts` a `Column[float]`. At run time
it only creates the codec of the field: the metaclass replaces each annotation with the plain Python type for msgspec.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NoReturn, TypeVar, get_args, get_origin, overload

import msgspec

from tsmodel.errors import SchemaError
from tsmodel.types.codec import FieldCodec, FixedCodec
from tsmodel.types.scalars import ByteOrder, Scalar, int_within

if TYPE_CHECKING:
    from tsmodel.model.column import Column, IntColumn

T = TypeVar("T")

SCHEMA: Final = "__tsmodel_schema__"
"""Name of the attribute of a model class that holds its schema."""


class MissingOption(ValueError):  # noqa: N818 - it becomes part of an error
    """A required option is missing."""


class Options:
    """The options of a field, from which its field type takes those that it knows.

    Raises:
        ValueError: from `done`, if an option was not taken.
    """

    def __init__(self, given: Mapping[str, Any], byte_order: ByteOrder) -> None:
        self._given = dict(given)
        self._settled: Mapping[str, Any] = {}
        self.byte_order: ByteOrder = self._given.pop("byte_order", byte_order)

    def under(self, settled: Mapping[str, Any]) -> Options:
        """Returns the options with some values settled. `done` rejects a settled option that is also given."""
        options = Options({}, settled.get("byte_order", self.byte_order))
        options._given, options._settled = self._given, settled
        return options

    def take(self, name: str, default: Any = None) -> Any:
        """Takes an option and returns its value."""
        return self._settled[name] if name in self._settled else self._given.pop(name, default)

    def require(self, name: str, example: str) -> Any:
        """Takes a required option and returns its value."""
        if name not in self._settled and name not in self._given:
            raise MissingOption(f"it requires field({name}={example})")
        return self.take(name)

    def storage(self, default: type[FieldType[Any]] | None = None, *, signed: bool = True) -> Scalar:
        """Takes `storage=` and returns the integer type that it names."""
        kind = self.take("storage", default)
        if kind is None:
            raise MissingOption("it requires an integer type to be stored as, such as field(storage=UInt8)")
        return _integer(kind, "storage", signed)

    def prefix(self, default: type[FieldType[Any]]) -> Scalar | None:
        """Takes `prefix=` and `rest=`. Returns the type of the length; None if the content takes the rest."""
        rest, given = self.take("rest", False), self.take("prefix")
        if not rest:
            return _integer(given or default, "prefix", signed=False)
        if given is not None:
            raise ValueError("give prefix= or rest=True, not both")
        return None

    def done(self, label: str, takes: Sequence[str] = ()) -> None:
        """Rejects options that were not taken. `takes` lists the options of the type, for the message."""
        if self._given:
            left = ", ".join(f"{name}={value!r}" for name, value in self._given.items())
            what = f"takes {', '.join(takes)}" if takes else "takes none"
            raise ValueError(f"{label} has no use for {left}; of the options about storage it {what}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns `"; did you mean size?"` if the name is similar to a known one; otherwise an empty text."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _integer(kind: object, option: str, signed: bool) -> Scalar:
    scalar = getattr(kind, "scalar", None)
    if not isinstance(scalar, Scalar) or scalar.kind != "int" or not (signed or scalar.name.startswith("U")):
        wanted = "an integer type such as Int32" if signed else "UInt8, UInt16, UInt32 or UInt64"
        raise ValueError(f"{option}={getattr(kind, '__name__', kind)} is not {wanted}")
    return scalar


class PaddingBytes(msgspec.Struct, frozen=True):
    """Unused bytes, written as zeros and ignored on reading."""

    size: int


class FieldType(Generic[T]):
    """Base class of field types, which store values of type T. Use them as annotations in a model."""

    takes: ClassVar[tuple[str, ...]] = ()
    """Names of its storage options, for documentation and messages."""

    examples: ClassVar[tuple[str, ...] | None] = None
    """Example declarations after `name: `, for documentation; None if the name alone suffices."""

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
        """Returns the codec of a field of this type.

        Args:
            argument: the type in brackets, such as `State` in `Enumerated[State]`; None without brackets.
            options: the options in `field()`.

        Raises:
            ValueError: if an option is missing or invalid; the message says what to write.
        """
        raise ValueError(f"{cls.__name__} cannot be the type of a field")

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type[object]) -> Column[T]: ...
        @overload
        def __get__(self, instance: object, owner: type[object]) -> T: ...
        def __get__(self, instance: object, owner: type[object]) -> Column[T] | T: ...
        def __set__(self, instance: object, value: T) -> None: ...


class IntField:
    """Mixin for ints that are not times: to a type checker, their column is an `IntColumn`."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type[object]) -> IntColumn: ...
        @overload
        def __get__(self, instance: object, owner: type[object]) -> int: ...
        def __get__(self, instance: object, owner: type[object]) -> IntColumn | int: ...


class Declaration(msgspec.Struct, frozen=True):
    """The field type and type argument of an annotation, such as `Enumerated[State]`."""

    field_type: type[FieldType[Any]]
    argument: Any = None

    def codec(self, options: Options) -> FieldCodec | PaddingBytes:
        return self.field_type.codec(self.argument, options)

    def fixed(self, options: Options, what: str) -> FixedCodec:
        """Returns the codec where only a fixed width is allowed.

        Raises:
            ValueError: if the width is not fixed.
        """
        codec = self.codec(options)
        if isinstance(codec, FieldCodec) and codec.as_fixed is not None:
            return codec.as_fixed
        raise ValueError(f"{what} must have a fixed width, but {self.field_type.__name__} does not")


def declaration_of(annotation: object) -> Declaration | None:
    """Returns the declaration in an annotation or `item=`; None if it is not a field type."""
    if isinstance(annotation, type) and issubclass(annotation, FieldType):
        return Declaration(annotation)
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, FieldType):
        (argument,) = get_args(annotation)
        return Declaration(origin, argument)
    return None


def size_of(options: Options) -> int | None:
    """Takes `size=` and returns it, in bytes; None if it is not given."""
    size: int | None = options.take("size")
    if size is not None:
        check_int("size", size, 1, 2**25)
    return size


def check_int(name: str, value: object, least: int, greatest: int, more: str = "") -> None:
    """Checks an option that takes an int; `more` ends the message.

    Raises:
        ValueError: if the value is not within the limits.
    """
    if type(value) is not int or not least <= value <= greatest:
        raise ValueError(f"{name}={value!r} is not {int_within(least, greatest)}{more}")


class Padding(FieldType[None]):
    """Unused bytes, written as zeros and ignored on reading. Padding is not an attribute of the model.

    Write `_gap: Padding = padding(3)`. Unlike other fields, padding may have a leading underscore.
    """

    takes = ("size",)
    examples = ()

    @classmethod
    def codec(cls, argument: Any, options: Options) -> PaddingBytes:
        size = size_of(options)
        if size is None:
            raise ValueError("write _gap: Padding = padding(3)")
        return PaddingBytes(size)


class KeyComponent(FieldType[int]):
    """Base class of key components. `meter: Mid` gives the component a name of the model's own."""

    component: ClassVar[str]
    examples = ()

    @classmethod
    def codec(cls, argument: Any, options: Options) -> NoReturn:
        raise ValueError(f"{cls.__name__} names a key component and cannot be the type of a value")


class Cid(IntField, KeyComponent):
    """The key component cid, the client id: an int from 0 to 2**31 - 2."""

    component = "cid"


class Mid(IntField, KeyComponent):
    """The key component mid, the meter id: an int from -2**63 to 2**63 - 2."""

    component = "mid"


class Moid(IntField, KeyComponent):
    """The key component moid, the meter object id: an int from -2**31 to 2**31 - 2."""

    component = "moid"


class Cap(KeyComponent):
    """The key component cap, the capture time: an int of ns since 2001-01-01T00:00:00Z."""

    component = "cap"


class Acq(KeyComponent):
    """The key component acq, the acquisition time: an int of ns since 2001-01-01T00:00:00Z; -1 until it is assigned."""

    component = "acq"

"""`Converted` and `Encoded`: how users add field types of their own.

A converted type stores its values as those of another field type, an encoded one as bytes of its own. Both define only
the conversion between a value and what is stored. The Python type of the values determines how they look in columns,
Arrow, dicts, JSON and CSV: a float looks like a `Float64`, a text like a `Text`. Values of any other type look like what is
stored.

Rules kept here:

* Any exception of a conversion becomes an error that names the field and the value.
* Comparisons use values, never what is stored: a conversion may round, or reverse the order.
"""

from __future__ import annotations

import datetime as dt
import inspect
import uuid
from collections.abc import Callable, Sequence
from enum import Enum, Flag
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, TypeVar, get_args, get_origin

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import SchemaError
from tsmodel.types.blob import Blob
from tsmodel.types.boolean import Bool
from tsmodel.types.codec import Description, FieldCodec, FixedCodec, Scope, Structures, VariableCodec, WrappingCodec
from tsmodel.types.column_facet import object_column, of_objects
from tsmodel.types.declaring import SCHEMA, Declaration, FieldType, MissingOption, Options
from tsmodel.types.duration import Duration
from tsmodel.types.enums import Enumerated, Flags
from tsmodel.types.field_faults import FieldFault, Mask, RowFault
from tsmodel.types.floats import Float64
from tsmodel.types.integers import Int64
from tsmodel.types.ip_address import IpAddress
from tsmodel.types.nested import Nested, stored_type
from tsmodel.types.scalars import ByteOrder, Scalar, shown
from tsmodel.types.text import Text
from tsmodel.types.text_facet import Conversion, Spelling
from tsmodel.types.times import Date, DateTime
from tsmodel.types.uuid import Uuid

if TYPE_CHECKING:
    from tsmodel.types.kinds import Kind

T = TypeVar("T")
Array: TypeAlias = npt.NDArray[Any]

_ALIKE: Final[dict[Any, tuple[type[FieldType[Any]], dict[str, Any]]]] = {
    float: (Float64, {}),
    int: (Int64, {}),
    bool: (Bool, {}),
    str: (Text, {"rest": True}),
    bytes: (Blob, {"rest": True}),
    dt.datetime: (DateTime, {}),
    dt.timedelta: (Duration, {}),
    dt.date: (Date, {}),
    uuid.UUID: (Uuid, {}),
    IPv4Address: (IpAddress, {"version": 4}),
    IPv6Address: (IpAddress, {"version": 6}),
}
"""The field type and options for values of a Python type."""


def _alike(python: Any) -> FieldCodec | None:
    """Returns the codec whose outside forms values of a Python type share; None if they look like what is stored."""
    kind: type[FieldType[Any]] | None = None
    argument: Any = None
    options: dict[str, Any] = {}
    if python in _ALIKE:
        kind, options = _ALIKE[python]
    elif isinstance(python, type) and issubclass(python, Enum):
        kind, argument = (Flags if issubclass(python, Flag) else Enumerated), python
    elif isinstance(python, type) and hasattr(python, SCHEMA):
        kind, argument = Nested, python
    if kind is None:
        return None
    try:
        codec = kind.codec(argument, Options(options, "little"))
    except ValueError:  # an enumeration of texts, or a model that is not a structure
        return None
    return codec if isinstance(codec, FieldCodec) else None


class _Hooks(msgspec.Struct, frozen=True):
    """The definition of a user's field type.

    Attributes:
        name: name of the type.
        python: type of its values.
        load: converts what is stored to a value.
        dump: converts a value to what is stored.
        load_column, dump_column: the same for arrays; None if not defined.
        alike: codec whose outside forms the values share; None if they look like what is stored.
    """

    name: str
    python: Any
    load: Callable[[Any], Any]
    dump: Callable[[Any], Any]
    load_column: Callable[[Array], Any] | None = None
    dump_column: Callable[[Array], Any] | None = None
    alike: FieldCodec | None = None

    @property
    def accepts(self) -> str:
        """What a value may be, in words."""
        name = getattr(self.python, "__name__", None)
        return f"a value of {self.name}" + (f" ({name})" if name and self.python is not object else "")

    def loaded(self, stored: Any) -> Any:
        """Loads a value.

        Raises:
            FieldFault: if `load` raises or returns a value of the wrong type.
        """
        try:
            value = self.load(stored)
        except FieldFault:
            raise
        except Exception as error:
            raise FieldFault(f"{shown(stored)} is not a {self.name}: {_said(error)}") from error
        if self.python not in _EXACT:
            return value
        if not _is_of(value, self.python):
            wanted = _EXACT[self.python]
            raise FieldFault(f"{self.name}.load() returned {shown(value)} ({type(value).__name__}), not {wanted}")
        if self.python is int and not -(2**63) <= value < 2**63:
            raise FieldFault(f"{self.name}.load() returned {shown(value)}, which does not fit in an int64")
        return self.python(value)

    def dumped(self, value: Any) -> Any:
        """Dumps a value.

        Raises:
            FieldFault: if the value has the wrong type, or `dump` raises.
        """
        if value is None or (self.python in _EXACT and not _is_of(value, self.python)):
            raise FieldFault(f"{shown(value)} ({type(value).__name__}) is not {self.accepts}")
        if self.python is int and not -(2**63) <= value < 2**63:
            raise FieldFault(f"{shown(value)} is not {self.accepts}: it does not fit in an int64")
        try:
            return self.dump(value)
        except FieldFault:
            raise
        except Exception as error:
            raise FieldFault(f"{shown(value)} ({type(value).__name__}) is not {self.accepts}: {_said(error)}") from error


_EXACT: Final[dict[Any, str]] = {float: "a float", int: "an int", bool: "a bool"}
"""Types whose values are numbers in columns, so `load` must return exactly these types."""


def _is_of(value: Any, python: Any) -> bool:
    """Whether a value is acceptable as a number of a type: an int for a float, but not a bool for an int."""
    if python is bool:
        return isinstance(value, (bool, np.bool_))
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, np.integer) if python is int else (int, float, np.integer, np.floating))


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


class _ConvertedCodec(FieldCodec, msgspec.Struct, frozen=True):
    """Base class for converted types of fixed and of variable width."""

    hooks: _Hooks
    item: FieldCodec

    @property
    def label(self) -> str:
        return f"{self.hooks.name} in {self.item.label}"

    @property
    def python(self) -> Any:
        return self.hooks.python

    @property
    def accepts(self) -> str:
        return self.hooks.accepts

    @property
    def byte_order(self) -> ByteOrder:
        return self.item.byte_order

    @property
    def source(self) -> tuple[FieldCodec, Callable[[Any], Any]]:
        return self.item, self._made_of

    def _made_of(self, value: Any) -> Any:
        """Returns the value that is read back after `value` was stored."""
        raw = self.item.write(value)
        stored, _ = self.item.read(raw, 0, len(raw))
        return self.hooks.loaded(stored)

    @property
    def least_size(self) -> int:
        return self.item.least_size

    @property
    def takes_rest(self) -> bool:
        return self.item.takes_rest

    @property
    def acyclic(self) -> bool:
        return self.hooks.alike is not None and self.hooks.alike.acyclic

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        if self.hooks.alike is not None:
            return self.hooks.alike.comparisons
        python = get_origin(self.python) or self.python
        unordered: Any = object
        return "all" if getattr(python, "__lt__", None) not in (None, unordered.__lt__) else "equality"

    def constant(self, value: Any) -> Any:
        """See `FieldCodec.constant`: any value of the type, also one that cannot be stored."""
        if self.number is not None:
            operand = self.operand(value)
            return float(operand) if isinstance(operand, np.floating) else operand
        return super().constant(value) if self.hooks.alike is None else self.hooks.alike.constant(value)

    def comparable(self, value: Any) -> Any:
        return value if self.hooks.alike is None else self.hooks.alike.comparable(value)

    def write(self, value: Any) -> bytes:
        given = self.hooks.dumped(value)
        try:
            return self.item.write(given)
        except FieldFault as fault:
            raise FieldFault(f"{shown(value)} becomes {shown(given)} in {self.hooks.name}: {fault.why}") from fault

    def description(self) -> Description:
        return {"type": "Converted", "to": self.hooks.name, "item": self.item.description()}

    def conversion(self, spelling: Spelling) -> Conversion:
        return ConvertedConversion(self, spelling)

    def unencodable(self, module: Any) -> str | None:
        alike = self.hooks.alike
        return (alike.unencodable(module) if alike is not None else None) or super().unencodable(module)

    def declared(self, structures: Structures) -> Kind:
        from tsmodel.types.kinds import noted

        return noted(self.item.declared(structures), self.hooks.name)

    def arrow_type(self, pa: Any) -> Any:
        return (self.hooks.alike or self.item).arrow_type(pa)

    def arrow_value(self, value: Any) -> Any:
        if self.hooks.alike is not None:
            return self.hooks.alike.arrow_value(value)
        return self.item.arrow_value(self.hooks.dumped(value))

    def objects_from_arrow(self, pa: Any, array: Any) -> list[Any]:
        if self.hooks.alike is not None:
            return self.hooks.alike.objects_from_arrow(pa, array)
        stored = self.item.objects_from_arrow(pa, array)
        return [None if each is None else self.hooks.loaded(each) for each in stored]


class FixedConvertedCodec(_ConvertedCodec, WrappingCodec, frozen=True):
    """A converted type that stores a type of fixed width."""

    has_arrays = False

    item: FixedCodec

    @property
    def number(self) -> Scalar | None:
        """See `FieldCodec.number`: the values themselves, if they are numbers."""
        alike = self.hooks.alike
        return alike.number if alike is not None and self.python in _EXACT else None

    @property
    def is_amount(self) -> bool:
        return self.number is not None

    def operand(self, value: object) -> Any:
        """See `FieldCodec.operand`: compares like a field with values of this Python type."""
        return super().operand(value) if self.hooks.alike is None else self.hooks.alike.operand(value)

    def shifted(self, shift: int) -> FixedConvertedCodec:
        return msgspec.structs.replace(self, item=self.item.shifted(shift))

    def load(self, stored: Any) -> Any:
        return self.hooks.loaded(self.item.load(stored))

    def load_code(self, stored: str, scope: Scope) -> str:
        return f"{scope.add(self.hooks.loaded)}({self.item.load_code(stored, scope)})"

    def dump(self, value: Any) -> Any:
        return self.item.dump(self.hooks.dumped(value))

    def faulty(self, column: Array) -> Mask | None:
        """See `FixedCodec.faulty`: values that the stored type or `load` rejects."""
        mask = self.item.faulty(column) if self.item.may_be_faulty else None
        if self._loaded_at_once(column if mask is None else column[~mask]) is not None:
            return mask
        wrong: Mask = np.zeros(len(column), np.bool_) if mask is None else np.array(mask)
        for at in np.flatnonzero(~wrong).tolist():
            try:
                self.load(self.stored_of(column[at : at + 1])[0])
            except FieldFault:
                wrong[at] = True
        return wrong

    def _loaded_at_once(self, column: Array) -> Array | None:
        """Applies `load_column`; returns None if it is not defined or fails."""
        number = self.number
        if self.hooks.load_column is None or number is None:
            return None
        stored = self.item.numbers(column)
        try:
            values = np.asarray(self.hooks.load_column(stored.astype(stored.dtype.newbyteorder("="))))
            if values.shape != stored.shape or values.dtype.kind not in _KINDS[number.kind]:
                return None
            return values.astype(number.numpy, copy=False)
        except Exception:  # noqa: BLE001 - then values are loaded one by one, which finds the fault
            return None

    def numbers(self, column: Array) -> Array:
        values = self._loaded_at_once(column)
        if values is not None:
            return values
        number = self.number
        assert number is not None
        values = np.zeros(len(column), number.numpy)
        for at, stored in enumerate(self.stored_of(column)):
            try:
                values[at] = self.load(stored)
            except FieldFault:
                continue  # an absent value; the others were checked
        return values

    def numbers_of(self, values: Sequence[Any]) -> Array:
        number = self.number
        assert number is not None
        return np.array([0 if value is None else value for value in values], number.numpy)

    def converted(self, values: Array) -> Array | None:
        """See `FixedCodec.converted`: from columns of values."""
        alike = self.hooks.alike
        given = self._dumped_at_once(values)
        if given is not None:
            try:
                return self.item.stored_column(given)
            except RowFault:
                pass  # loading one by one names the value at fault
        if alike is not None and alike.as_fixed is not None:
            fixed = alike.as_fixed
            stored = fixed.as_dtype(fixed.stored_column(values))
            return of_objects(self, object_column([fixed.load(each) for each in fixed.stored_of(stored)]))
        if values.ndim > 1:
            return None
        return of_objects(self, values.astype(object))

    def _dumped_at_once(self, values: Array) -> Array | None:
        """Applies `dump_column`; returns None if it is not defined or fails."""
        alike, number = self.hooks.alike, self.number
        if self.hooks.dump_column is None or alike is None or alike.as_fixed is None or number is None:
            return None
        plain = alike.as_fixed.stored_column(values).astype(number.numpy, copy=False)
        try:
            given = np.asarray(self.hooks.dump_column(plain))
        except Exception:  # noqa: BLE001 - then values are dumped one by one, which finds the fault
            return None
        return given if given.shape == plain.shape and given.dtype.kind in "iufb" else None

    def objects(self, column: Array) -> Array:
        return object_column(self._values(column))

    def _values(self, column: Array) -> list[Any]:
        """Returns the values of a column; None where `load` fails, as it may where a value is absent."""
        values = []
        for stored in self.stored_of(column):
            try:
                values.append(self.load(stored))
            except FieldFault:
                values.append(None)
        return values

    def to_arrow(self, pa: Any, name: str, column: Array) -> Any:
        alike = self.hooks.alike
        if alike is None:
            return self.item.to_arrow(pa, name, column)
        if self.number is not None and alike.as_fixed is not None:
            return alike.as_fixed.to_arrow(pa, name, self.numbers(column))
        values = [None if value is None else alike.arrow_value(value) for value in self._values(column)]
        return pa.array(values, alike.arrow_type(pa), from_pandas=False)

    def from_arrow(self, pa: Any, array: Any) -> Array:
        """See `FixedCodec.from_arrow`: in the outside form of the values."""
        if self.number is not None and self.hooks.alike is not None and self.hooks.alike.as_fixed is not None:
            return self.hooks.alike.as_fixed.from_arrow(pa, array)
        return object_column(self.objects_from_arrow(pa, array))


_KINDS: Final = {"float": "fiu", "int": "iu", "bool": "b"}
"""NumPy kinds of arrays that `load_column` may return, by the kind of the numbers."""


class VariableConvertedCodec(_ConvertedCodec, VariableCodec, frozen=True):
    """A converted type that stores a type of variable width."""

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        stored, after = self.item.read(payload, at, end)
        try:
            return self.hooks.loaded(stored), after
        except FieldFault as fault:
            raise FieldFault(fault.why, fault.offset + at, fault.field) from fault.__cause__


class ConvertedConversion(Conversion):
    """The outside forms of a converted type: those of the built-in type with such values, or of the stored type."""

    codec: _ConvertedCodec

    def __init__(self, codec: _ConvertedCodec, spelling: Spelling) -> None:
        super().__init__(codec, spelling)
        hooks = codec.hooks
        self._as_stored = hooks.alike is None
        self._inner = (hooks.alike or codec.item).conversion(spelling)
        self.has_decimals = self._inner.has_decimals
        self.takes_empty = self._inner.takes_empty
        self.shareable = self._inner.shareable and not self._as_stored

    @property
    def accepts(self) -> str:
        return self._inner.accepts

    def plain(self, data: Any) -> Any:
        return self._inner.plain(data)

    def load(self, data: Any) -> Any:
        python = get_origin(self.codec.python) or self.codec.python
        if self._as_stored and isinstance(python, type) and python is not object and isinstance(data, python):
            return self.held(data)
        return self._loaded(self._inner.load(data))

    def parse(self, text: str) -> Any:
        return self._loaded(self._inner.parse(text))

    def dump(self, value: Any) -> Any:
        return self._inner.dump(self._dumped(value))

    def show(self, value: Any) -> Any:
        return self._inner.show(self._dumped(value))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return self._inner.schema(definitions)

    def _loaded(self, inner: Any) -> Any:
        return self.held(self.codec.hooks.loaded(inner) if self._as_stored else inner)

    def _dumped(self, value: Any) -> Any:
        self.held(value)
        return self.codec.hooks.dumped(value) if self._as_stored else value


class Converted(FieldType[T]):
    """Base class for your own field types whose values are stored as another field type.

    A subclass defines the type of its values, as in `Converted[float]`, the field type that stores them, as in
    `storage=Int16`, and the conversions `load` and `dump`. For numbers it can also define `load_column` and `dump_column`,
    which convert a whole NumPy array at once. Other class keywords are options of the stored type: `storage=Text, size=8`.

    Raises:
        SchemaError: at class creation, if the definition is incomplete or invalid.

    Example::

        class Celsius(Converted[float], storage=Int16):
            @staticmethod
            def load(stored: int) -> float:
                return stored / 100

            @staticmethod
            def dump(value: float) -> int:
                return round(value * 100)
    """

    _storage: ClassVar[Declaration]
    _said: ClassVar[dict[str, Any]] = {}

    @staticmethod
    def load(stored: Any, /) -> Any:
        """Converts what is stored to a value. Raise any exception if that is impossible."""
        raise ValueError(f"{stored!r} cannot be loaded")

    @staticmethod
    def dump(value: Any, /) -> Any:
        """Converts a value to what is stored. Raise any exception to reject the value."""
        raise ValueError(f"{value!r} cannot be dumped")

    if not TYPE_CHECKING:  # a checker would require overrides to be methods of the same kind
        load_column = None
        """As `load`, for an array; gives an array of the same shape, of the same values."""

        dump_column = None
        """As `dump`, for an array; gives an array of the same shape, of the same values."""

    def __init_subclass__(cls, *, storage: Any = None, **options: Any) -> None:
        super().__init_subclass__()
        if storage is not None:
            declared = stored_type(storage)
            if declared is None:
                raise _wrong(cls, f"storage={storage!r} is not a field type, such as Int16")
            cls._storage, cls._said = declared, options
        else:
            cls._said = {**cls._said, **options}
        if cls.__module__ == __name__:
            return
        if not hasattr(cls, "_storage"):
            raise _wrong(
                cls, f"it does not say how it is stored: write class {cls.__name__}(Converted[float], storage=Int16)"
            )
        for name in ("load", "dump"):
            if getattr(cls, name) is getattr(Converted, name):
                raise _wrong(cls, f"it has no {name}(): write it as a @staticmethod that takes one value")
        for name in ("load", "dump", "load_column", "dump_column"):
            _check_hook(cls, name)
        kind = cls._storage.field_type
        cls.takes = tuple(name for name in kind.takes if name not in cls._said)
        try:
            said = Options(cls._said, "little")
            cls._made(cls._storage.codec(said), _python_of(cls))
            said.done(kind.__name__, kind.takes)
        except MissingOption:
            return  # each field gives it
        except ValueError as error:
            raise _wrong(cls, str(error)) from error

    @classmethod
    def codec(cls, argument: Any, options: Options) -> FieldCodec:
        if cls.__module__ == __name__:
            raise ValueError(f"derive a class from {cls.__name__}[...], and use that")
        item = cls._storage.codec(options.under(cls._said))
        return cls._made(item, _python_of(cls) if argument is None else argument)

    @classmethod
    def _made(cls, item: Any, python: Any) -> FieldCodec:
        if not isinstance(item, FieldCodec) or item.is_nullable:
            mend = (
                "; make the field nullable instead: Nullable[...] = field(item=...)" if isinstance(item, FieldCodec) else ""
            )
            raise ValueError(f"storage={cls._storage.field_type.__name__} cannot store converted values{mend}")
        is_plain = item.is_plain or (item.as_fixed is not None and item.as_fixed.bits is not None)
        load_column: Any = getattr(cls, "load_column", None)
        dump_column: Any = getattr(cls, "dump_column", None)
        if (load_column or dump_column) and not (is_plain and python in _EXACT):
            raise ValueError("load_column and dump_column are for float, int and bool, stored as numbers such as Int16")
        hooks = _Hooks(cls.__name__, python, cls.load, cls.dump, load_column, dump_column, _alike(python))
        if item.as_fixed is None:
            return VariableConvertedCodec(hooks, item)
        return FixedConvertedCodec(hooks, item.as_fixed)


def _wrong(cls: type, why: str) -> SchemaError:
    return SchemaError(f"class {cls.__name__}: {why}", model=cls.__name__)


def _check_hook(cls: type, name: str) -> None:
    hook = getattr(cls, name)
    if hook is None:
        return
    try:
        inspect.signature(hook).bind(None)
    except TypeError as error:
        raise _wrong(cls, f"{name}() takes one value: write it as a @staticmethod") from error
    except ValueError:
        return  # implemented in C, without a signature


def _python_of(cls: type) -> Any:
    """Returns the type in the brackets, such as float in `Converted[float]`."""
    for each in cls.__mro__:
        for base in vars(each).get("__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Converted) and get_args(base):
                (argument,) = get_args(base)
                if not isinstance(argument, TypeVar):
                    return argument
    return object


class Encoded(Converted[T], storage=Blob):
    """Base class for your own field types whose values are stored as bytes.

    A subclass defines the type of its values, as in `Encoded[str]`, the number of bytes per value, as in `size=6`, and the
    conversions `load` (from bytes) and `dump` (to bytes). Without a size, the bytes have a length prefix as in a `Blob`,
    and fields accept its options `prefix` and `rest`.

    Raises:
        SchemaError: at class creation, if the definition is incomplete or invalid.

    Example::

        class Mac(Encoded[str], size=6):
            @staticmethod
            def load(stored: bytes) -> str:
                return stored.hex(":")

            @staticmethod
            def dump(value: str) -> bytes:
                return bytes.fromhex(value.replace(":", ""))
    """

    @classmethod
    def _made(cls, item: Any, python: Any) -> FieldCodec:
        made = super()._made(item, python)
        if isinstance(made, FixedConvertedCodec):  # a Blob pads shorter bytes, so other bytes would be read back
            hooks = msgspec.structs.replace(made.hooks, dump=_Exactly(cls.dump, made.size))
            return msgspec.structs.replace(made, hooks=hooks)
        return made


class _Exactly(msgspec.Struct, frozen=True):
    """`dump`, which must return `size` bytes. A class, because equal codecs have equal hooks and partials never are."""

    dump: Callable[[Any], Any]
    size: int

    def __call__(self, value: Any) -> Any:
        raw = self.dump(value)
        if len(raw) != self.size:
            raise FieldFault(f"{shown(value)} becomes {len(raw)} bytes, but the size is {self.size}")
        return raw

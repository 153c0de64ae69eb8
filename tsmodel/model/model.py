"""`TSModel`, the base class of all models, and `TSStruct`, the base class of nested structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from typing_extensions import Self

from tsmodel.client.record import Record
from tsmodel.errors import DecodeError, UnavailableError, UpgradeError
from tsmodel.keys import KEY_FIELDS, Key
from tsmodel.layout import LayoutError, RowCodec
from tsmodel.layout.row_codecs import Refusal
from tsmodel.layout.versions import UpgradeFault
from tsmodel.model.conversion import FileConversions, ObjectConversions
from tsmodel.model.evolution import upgrading
from tsmodel.model.field import field
from tsmodel.model.meta import TSModelMeta, Yielding, schema_of
from tsmodel.model.model_schema import Schema, fingerprint_of
from tsmodel.timestamps import to_datetime
from tsmodel.types import Int32, Int64, Timestamp
from tsmodel.types.field_faults import FieldFault

if TYPE_CHECKING:
    import datetime as dt

    import numpy as np
    import numpy.typing as npt

    from tsmodel.client.payload_type import PayloadType
    from tsmodel.query import Query

    class _Struct: ...

else:
    from msgspec import Struct as _Struct

__all__ = ["TSModel", "TSStruct", "codec_of", "hexdump"]

R = TypeVar("R")
M = TypeVar("M", bound="TSModel")
O = TypeVar("O", bound="TSModel")  # noqa: E741 - the old version


def codec_of(model: type[M]) -> RowCodec[M]:
    """Returns the codec of a concrete model.

    Raises:
        UnavailableError: if the model is abstract.
    """
    codec = schema_of(model).codec
    if codec is None:
        raise UnavailableError(
            f"{model.__name__} is abstract and has no records: use a class derived from it", model=model.__name__
        )
    return codec


class _Query:
    def __get__(self, instance: object, owner: type[M]) -> Query[M]:
        from tsmodel.query import Query  # imported late: tsmodel.query imports this package

        codec_of(owner)
        return Query(owner)


class _PayloadType:
    def __get__(self, instance: object, owner: type[M]) -> PayloadType[M]:
        from tsmodel.model.payload import ModelPayloadType

        return ModelPayloadType(codec_of(owner))


class _OfSchema(Generic[R]):
    """A class attribute that is computed from the schema."""

    def __init__(self, compute: Callable[[Schema], R]) -> None:
        self._compute = compute

    def __get__(self, instance: object, owner: type[Any]) -> R:
        try:
            return self._compute(schema_of(owner))
        except LayoutError as error:
            raise UnavailableError(f"{owner.__name__}: {error}", model=owner.__name__) from error


_layout: Final = _OfSchema(lambda schema: schema.layout)
_struct_format: Final = _OfSchema(lambda schema: schema.layout.struct_format)
_dtype: Final[_OfSchema[np.dtype[Any]]] = _OfSchema(lambda schema: schema.layout.dtype)
_fingerprint: Final = _OfSchema(fingerprint_of)


class TSModel(_Struct, FileConversions, metaclass=TSModelMeta, abstract=True):
    """Base class of models. A model describes one kind of record: the key, and a payload of typed fields.

    Annotations declare the payload fields. Every model starts with the key components: cid, mid, moid, cap and acq.
    Create objects with keyword arguments. acq is -1 until the database assigns it.

    Class keywords:
        abstract: True for a base class that only shares its fields with subclasses and has no records.
        byte_order: byte order of the payload, "little" (default) or "big".
        align: "packed" (default, no gaps), or "c" for the offsets and size that a C compiler for x86-64 uses.
        encoding: "struct" (default) for a byte layout; "msgpack" or "json" for a message that maps field names to values.
        frozen: True for immutable, hashable objects.
        strict_read: True to check the constraints in `field()` (`ge=` and others) on reading as well as on writing.
        weakref: True to allow weak references to objects; costs 8 bytes per object.
        dict: True to give objects a `__dict__` for extra attributes, which `functools.cached_property` needs; costs 8 bytes
            per object, and more once an attribute is set. Extra attributes are neither stored nor compared. They must not
            refer back to the object, because the garbage collector does not track them.
        post_init_on_read: True to call `__post_init__` for objects that are read, too. By default only the constructor
            calls it.
        replaces: the older version of this model. This class reads its records as well; see `upgrade_from`.
        versioned: True if payloads start with a version byte. Inherited from the replaced class.
        version: value of the version byte, 0 to 255. By default the first version is 1, and each newer one adds 1.
        since: capture time at which this version starts. Earlier records belong to the replaced class.
        retention: how long to keep records, by capture time, such as "400d". `session.prune` removes older records.
        cid, mid, moid: fixes this key component: it becomes the default, is checked on writing, and is part of every
            query.

    Any other keyword goes to the `__init_subclass__` of a base class, which runs when the class is complete. A class with
    abstract methods is abstract without the keyword; `abc.ABC` may be one of the bases. A `typing.Protocol` cannot be a
    base, because it has its own metaclass, but a model can satisfy a protocol structurally.

    Class attributes:
        query: a new `Query` for this model.
        layout: the payload's byte layout; printing it gives a table.
        struct_format: the payload as a `struct` format string.
        dtype: the payload as a NumPy structured dtype.
        payload_type: a `PayloadType` for channels, which serializes the payload.
        fingerprint: 16 hexadecimal digits that identify the byte layout, the names and types of the fields, and the fixed
            key components. Class names, defaults, units, docs and constraints do not affect it.

    Raises:
        SchemaError: at class creation, if a field, a default or a keyword is invalid.

    Example::

        class Reading(TSModel):
            counter: Int32
            volts: Float32
            valid: Bool = field(default=True)

        reading = Reading(cid=1, mid=4, moid=7, cap=now_ns(), counter=3, volts=231.5)
    """

    if TYPE_CHECKING:
        # A type checker cannot see which components the class keywords fix, so all are optional for it. At run time, a
        # component that is neither fixed nor given raises a TypeError.
        cid: Int32 = field(default=-1)
        mid: Int64 = field(default=-1)
        moid: Int32 = field(default=-1)
        cap: Timestamp = field(default=-1)
        acq: Timestamp = field(default=-1)

    query = _Query()
    layout = _layout
    struct_format = _struct_format
    dtype = _dtype
    payload_type = _PayloadType()
    fingerprint = _fingerprint

    @classmethod
    def upgrade_from(cls, old: type[O]) -> Callable[[Callable[[O], Self]], Callable[[O], Self]]:
        """Registers the decorated function, which converts objects of `old` (the class that this one `replaces`).

        The new object always keeps the key of the old one, even if the function sets another key.

        Raises:
            SchemaError: if this class does not replace `old`.

        Example::

            @ReadingV2.upgrade_from(ReadingV1)
            def volts_of_millivolts(old: ReadingV1) -> ReadingV2:
                return ReadingV2(cid=old.cid, mid=old.mid, moid=old.moid, cap=old.cap, volts=old.millivolts / 1000)
        """
        return upgrading(schema_of(cls), old)

    @property
    def key(self) -> Key:
        """The record's key."""
        return Key(self.cid, self.mid, self.moid, self.cap, self.acq)

    @Yielding
    def captured(self) -> dt.datetime:
        """`cap` as an aware datetime in UTC, rounded down to the microsecond. A field named `captured` overrides it.

        Raises:
            TimestampError: if `cap` is not an int64.
        """
        return to_datetime(self.cap)

    @Yielding
    def acquired(self) -> dt.datetime | None:
        """`acq` as an aware datetime in UTC, rounded down to the microsecond; None until the database assigns it."""
        return None if self.acq == -1 else to_datetime(self.acq)

    def to_record(self) -> Record[Self]:
        """Returns a client record with the key of this object, and the object as its value."""
        return Record(self.key, self)

    @classmethod
    def from_format(cls, format: str, names: Sequence[str] | None = None, *, name: str = "Existing") -> type[Any]:  # noqa: A002
        """Returns a model class for payloads in a `struct` format, such as those the official client writes.

        Without a byte-order mark the format is native, as for `TuplePayloadType`: this machine's byte order, with the
        padding that a C compiler inserts between fields. `c` and `s` become `Blob`.

        Args:
            format: a `struct` format string.
            names: names of the fields; f0, f1, … by default.
            name: name of the class.

        Raises:
            SchemaError: if the format is invalid, or the number of names differs from the number of fields.
        """
        from tsmodel.model.existing import members_of_format

        return _class_of(cls, name, *members_of_format(name, format, names))

    @classmethod
    def from_dtype(cls, dtype: npt.DTypeLike, *, name: str = "Existing") -> type[Any]:
        """Returns a model class for payloads in a structured NumPy dtype, with the same fields at the same offsets.

        Args:
            dtype: anything that `numpy.dtype` accepts, such as `"i4,f8"`, or a dtype with `align=True`. Subarrays become
                `Array`, nested structures become `Nested`, and `S` and `V` become `Blob`.
            name: name of the class.

        Raises:
            SchemaError: if the dtype is not structured, or no field type matches one of its fields.
        """
        from tsmodel.model.existing import members_of_dtype

        return _class_of(cls, name, *members_of_dtype(name, dtype, partial(_class_of, TSStruct)))

    @classmethod
    def from_record(cls, record: Record[Self] | Record[bytes]) -> Self:
        """Returns the object in a client record, whose value is either the payload bytes or an object of this class.

        Raises:
            DecodeError: if the payload does not match the model, or the value is of another class.
        """
        codec = codec_of(cls)
        value = record.value
        if isinstance(value, (bytes, bytearray, memoryview)):
            payload = bytes(value)
            try:
                return codec.row_of(record.key, payload)
            except FieldFault as fault:
                raise mismatch(cls, record.key, payload, fault) from fault
        if not isinstance(value, cls):
            raise DecodeError(
                f"a record of {cls.__name__} holds {type(value).__name__}; expected bytes or {cls.__name__}",
                key=record.key,
            )
        fields = [getattr(value, name) for name in codec.layout.names]
        return codec.make(*record.key.astuple(), *fields)


class TSStruct(_Struct, ObjectConversions, metaclass=TSModelMeta, abstract=True, has_key=False):
    """Base class of structures, which have no key and are nested in a payload: `phase: Nested[Phase]`.

    Class keywords:
        abstract, byte_order, align, encoding, frozen, weakref, dict: as for `TSModel`.

    Class attributes:
        layout, struct_format, dtype, fingerprint: as for `TSModel`.

    Example::

        class Phase(TSStruct):
            volts: Float32
            amps: Float32

        class Reading(TSModel):
            l1: Nested[Phase]
    """

    layout = _layout
    struct_format = _struct_format
    dtype = _dtype
    fingerprint = _fingerprint


def _class_of(base: Any, name: str, annotations: dict[str, Any], values: dict[str, Any]) -> type[Any]:
    """Creates a class derived from `base` with these fields."""
    return cast("type[Any]", type(base)(name, (base,), {"__annotations__": annotations, "__module__": __name__, **values}))


def mismatch(
    model: type[TSModel], key: Key, payload: bytes, fault: FieldFault | None = None, *, hint: str = ""
) -> DecodeError:
    """Returns the error for a payload that does not match the model.

    Args:
        fault: what is wrong; None if the payload has the wrong size.
        hint: a remedy to append to the message.
    """
    size = schema_of(model).layout.size
    named = ", ".join(f"{name} {value}" for name, value in zip(KEY_FIELDS, key.astuple(), strict=True))
    shown = f"\n{hexdump(payload)}" if payload else ""
    if isinstance(fault, UpgradeFault):
        text = f"record {named}: {fault.why}{shown}"
        upgrade = UpgradeError(text, key=key, payload=payload, old=fault.old, new=fault.new)
        upgrade.__cause__ = fault.__cause__
        return upgrade
    if not isinstance(fault, Refusal) and size is not None and (fault is None or len(payload) != size):
        return DecodeError(
            f"the payload of record {named} has {len(payload)} bytes; {model.__name__} takes {size}{hint}{shown}",
            key=key,
            payload=payload,
            offset=min(len(payload), size),
        )
    assert fault is not None
    name = f"{model.__name__}.{fault.field}" if fault.field else model.__name__
    where = "" if isinstance(fault, Refusal) else f"{name}, at byte {fault.offset}: "
    return DecodeError(
        f"the payload of record {named}, {len(payload)} bytes, cannot be read: {where}{fault.why}{hint}{shown}",
        key=key,
        payload=payload,
        offset=fault.offset,
        field=fault.field or None,
    )


def hexdump(data: bytes) -> str:
    """Returns a hex dump of the first 128 bytes: offset, hex and ASCII, 16 bytes per line.

    >>> print(hexdump(b"tsmodel"))
      0000  74 73 6d 6f 64 65 6c                             tsmodel
    """
    lines = []
    for offset in range(0, min(len(data), 128), 16):
        part = data[offset : offset + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"  {offset:04x}  {part.hex(' '):<48} {text}")
    if len(data) > 128:
        lines.append(f"  … {len(data) - 128} more bytes")
    return "\n".join(lines)

"""`TSModel`, the class that users derive their models from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import Self

from tsmodel.client.record import Record
from tsmodel.errors import DecodeError, UnavailableError, UpgradeError
from tsmodel.keys import KEY_FIELDS, Key
from tsmodel.layout import Layout, LayoutError, RowCodec
from tsmodel.layout.matching import Refusal
from tsmodel.layout.versions import UpgradeFault
from tsmodel.model.conversion import FileConversions, ObjectConversions
from tsmodel.model.evolution import upgrading
from tsmodel.model.field import field
from tsmodel.model.meta import TSModelMeta, Yielding, schema_of
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

__all__ = ["TSModel", "TSStruct", "codec_of"]

M = TypeVar("M", bound="TSModel")
O = TypeVar("O", bound="TSModel")  # noqa: E741 - the old version


def codec_of(model: type[M]) -> RowCodec[M]:
    """The codec of a concrete model.

    Raises:
        UnavailableError: when the model is abstract.
    """
    codec = schema_of(model).codec
    if codec is None:
        raise UnavailableError(
            f"{model.__name__} is abstract and has no records: use a class derived from it", model=model.__name__
        )
    return codec


class _Query:
    def __get__(self, instance: object, owner: type[M]) -> Query[M]:
        from tsmodel.query import Query  # which stands below this room

        codec_of(owner)
        return Query(owner)


class _PayloadType:
    def __get__(self, instance: object, owner: type[M]) -> PayloadType[M]:
        from tsmodel.model.payload import ModelPayloadType

        return ModelPayloadType(codec_of(owner))


class _Layout:
    def __get__(self, instance: object, owner: type[M]) -> Layout:
        return schema_of(owner).layout


class _Fingerprint:
    def __get__(self, instance: object, owner: type[Any]) -> str:
        from tsmodel.model.model_schema import fingerprint_of

        return fingerprint_of(schema_of(owner))


class _StructFormat:
    def __get__(self, instance: object, owner: type[M]) -> str:
        try:
            return schema_of(owner).layout.struct_format
        except LayoutError as error:
            raise UnavailableError(f"{owner.__name__}: {error}", model=owner.__name__) from error


class _Dtype:
    def __get__(self, instance: object, owner: type[M]) -> np.dtype[Any]:
        try:
            return schema_of(owner).layout.dtype
        except LayoutError as error:
            raise UnavailableError(f"{owner.__name__}: {error}", model=owner.__name__) from error


class TSModel(_Struct, FileConversions, metaclass=TSModelMeta, abstract=True):
    """A kind of record: the key, and a payload of typed fields.

    Declare the payload's fields by annotations; every model has the key's components (cid, mid, moid, cap, acq) first.
    Objects are created with keyword arguments; acq is -1 until the database gives it.

    Class keywords:
        abstract: True for a class that only hands its fields down.
        byte_order: byte order of the payload, "little" (default) or "big".
        align: "packed" (default), or "c" for the offsets and the size that a C compiler for x86-64 gives.
        encoding: "struct" (default) for a byte layout; "msgpack" or "json" for a message, a map of the fields by name.
        frozen: True for objects that cannot be changed and can be hashed.
        strict_read: True to check what `field()` asks of values (`ge=` and others) on reading, too.
        weakref: True for objects that weak references can refer to; 8 bytes an object.
        dict: True for objects that hold further attributes, which `functools.cached_property` takes; 8 bytes an object, and
            more with the first such attribute. What is held there is neither stored nor compared. It must not refer back to
            the object: the garbage collector does not look there.
        post_init_on_read: True to call `__post_init__` also for objects that are read, not only for constructed ones.
        replaces: the class whose records this one reads as well, as an older version; see `upgrade_from`.
        versioned: True for payloads that begin with a byte saying the version; inherited from what it replaces.
        version: value of that byte, 0 to 255, instead of 1 for the first version and one more for each further one.
        since: capture time from which on records are of this version, and before which of what it replaces.
        retention: how long records are kept, by capture time, "400d" say: `session.prune` removes older ones.
        cid, mid, moid: fixes this component of the key: its default, checked on writing, and part of every query.

    Any other keyword goes to the `__init_subclass__` of a base class, which is called when the class is complete. A class
    with abstract methods (`abc.ABC` may be among the bases) is abstract without the keyword. A `typing.Protocol` cannot be
    among the bases, since it has a metaclass of its own; a model can be what a protocol asks for all the same.

    Class attributes:
        query: a new `Query` for this model.
        layout: the payload's byte layout; printing it gives a table.
        struct_format: the payload as a `struct` format.
        dtype: the payload as a NumPy structured dtype.
        payload_type: the payload's serializer, a `PayloadType`, for channels.
        fingerprint: 16 hexadecimal digits that are the same wherever records have the same bytes and fields of the same
            names and types. Names of classes, defaults, units, docs and constraints have no part in it.

    Raises:
        SchemaError: at class creation, when a field, a default or a keyword is not valid.

    Example::

        class Reading(TSModel):
            counter: Int32
            volts: Float32
            valid: Bool = field(default=True)

        reading = Reading(cid=1, mid=4, moid=7, cap=now_ns(), counter=3, volts=231.5)
    """

    if TYPE_CHECKING:
        # A checker does not see which components the class keywords fix, so none is required for it; at run time a
        # component that is neither fixed nor given is a TypeError.
        cid: Int32 = field(default=-1)
        mid: Int64 = field(default=-1)
        moid: Int32 = field(default=-1)
        cap: Timestamp = field(default=-1)
        acq: Timestamp = field(default=-1)

    query = _Query()
    layout = _Layout()
    struct_format = _StructFormat()
    dtype = _Dtype()
    payload_type = _PayloadType()
    fingerprint = _Fingerprint()

    @classmethod
    def upgrade_from(cls, old: type[O]) -> Callable[[Callable[[O], Self]], Callable[[O], Self]]:
        """Decorates the function that makes an object of this class of one of `old`, the class that this one `replaces`.

        The object made keeps the key of the old one, whatever key the function gives it.

        Raises:
            SchemaError: when this class does not replace `old`.

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
        """`cap` as an aware datetime in UTC, rounded down to the microsecond; a field of this name takes its place.

        Raises:
            TimestampError: when `cap` is not an int64.
        """
        return to_datetime(self.cap)

    @Yielding
    def acquired(self) -> dt.datetime | None:
        """`acq` likewise; None as long as the database has not given it."""
        return None if self.acq == -1 else to_datetime(self.acq)

    def to_record(self) -> Record[Self]:
        """A client record with this object's key and the object as its value."""
        return Record(self.key, self)

    @classmethod
    def from_format(cls, format: str, names: Sequence[str] | None = None, *, name: str = "Existing") -> type[Any]:  # noqa: A002
        """A model of records whose payload is a `struct` format, such as those of the official client.

        Without a byte-order mark the format is native, as for `TuplePayloadType`: this machine's byte order, and the
        padding that a C compiler puts between fields. `c` and `s` become `Blob`.

        Args:
            format: as `struct` takes it.
            names: of the fields; f0, f1, … when nothing is said.
            name: the class' name.

        Raises:
            SchemaError: when it is no format, or the number of names is another.
        """
        from tsmodel.model.existing import members_of_format

        return _class_of(cls, name, *members_of_format(name, format, names))

    @classmethod
    def from_dtype(cls, dtype: npt.DTypeLike, *, name: str = "Existing") -> type[Any]:
        """A model of records whose payload is a structured NumPy dtype: its fields, where it places them.

        Args:
            dtype: what `numpy.dtype` takes, such as `"i4,f8"` or one with `align=True`. Fields that are arrays become
                `Array`, structures `Nested`, `S` and `V` become `Blob`.
            name: the class' name.

        Raises:
            SchemaError: when the dtype is not structured, or a field of it has no field type.
        """
        from tsmodel.model.existing import members_of_dtype

        return _class_of(cls, name, *members_of_dtype(name, dtype, partial(_class_of, TSStruct)))

    @classmethod
    def from_record(cls, record: Record[Self] | Record[bytes]) -> Self:
        """The object that a client record holds: its value may be the payload's bytes or an object of this class.

        Raises:
            DecodeError: when the bytes do not fit the model.
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
    """A structure in the payload of models, without a key: `phase: Nested[Phase]` with `class Phase(TSStruct)`.

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

    layout = _Layout()
    struct_format = _StructFormat()
    dtype = _Dtype()
    fingerprint = _Fingerprint()


def _class_of(base: Any, name: str, annotations: dict[str, Any], values: dict[str, Any]) -> type[Any]:
    """A class derived from `base` with these fields."""
    return cast("type[Any]", type(base)(name, (base,), {"__annotations__": annotations, "__module__": __name__, **values}))


def mismatch(
    model: type[TSModel], key: Key, payload: bytes, fault: FieldFault | None = None, *, hint: str = ""
) -> DecodeError:
    """The error for a payload that is none of the model's.

    Args:
        fault: what is wrong; None when the payload does not have the layout's size.
        hint: what to do about it.
    """
    from tsmodel.model.representing import hexdump

    size = schema_of(model).layout.size
    named = ", ".join(f"{name} {value}" for name, value in zip(KEY_FIELDS, key.astuple(), strict=True))
    shown = f"\n{hexdump(payload)}" if payload else ""
    if isinstance(fault, Refusal):
        text = f"the payload of record {named}, {len(payload)} bytes, cannot be read: {fault.why}{hint}{shown}"
        if isinstance(fault, UpgradeFault):
            error: DecodeError = UpgradeError(
                f"record {named}: {fault.why}{shown}", key=key, payload=payload, old=fault.old, new=fault.new
            )
            error.__cause__ = fault.__cause__
            return error
        return DecodeError(text, key=key, payload=payload, offset=fault.offset, field=fault.field or None)
    if size is not None and (fault is None or len(payload) != size):
        return DecodeError(
            f"the payload of record {named} has {len(payload)} bytes; {model.__name__} takes {size}{hint}{shown}",
            key=key,
            payload=payload,
            offset=min(len(payload), size),
        )
    assert fault is not None
    name = f"{model.__name__}.{fault.field}" if fault.field else model.__name__
    return DecodeError(
        f"the payload of record {named}, {len(payload)} bytes, cannot be read: {name}, at byte {fault.offset}: {fault.why}"
        f"{hint}{shown}",
        key=key,
        payload=payload,
        offset=fault.offset,
        field=fault.field or None,
    )

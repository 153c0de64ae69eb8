"""Every exception tsmodel raises, under one root.

Rules kept here:

* One root, `TSModelError`, and a family for each kind of failure, so you can catch as widely as you need.
* *Local* protocol errors mean that this side violated the protocol; *remote* ones that the peer did.
* Data that a program may act on (record number, field, key, status, offset) are attributes, not only text.
* A class declares its data with defaults. They are passed as keywords, and every error can be pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tsmodel.backend import Removal
    from tsmodel.keys import Key
    from tsmodel.model import TSModel

__all__ = [
    "CheckpointError",
    "CommitTimeoutError",
    "ConversionError",
    "ConversionFault",
    "DecodeError",
    "EncodeError",
    "KeyRangeError",
    "LocalProtocolError",
    "MissingLibraryError",
    "MultipleResultsError",
    "NoResultError",
    "NoSessionError",
    "PoolTimeoutError",
    "ProtocolError",
    "QueryError",
    "RemoteProtocolError",
    "RemovedWarning",
    "SchemaError",
    "ServerError",
    "SessionError",
    "SpoolFullError",
    "StoreCorruptError",
    "StoreError",
    "StoreFormatError",
    "StoreInDoubtError",
    "StoreRecoveryError",
    "StoreUnansweredError",
    "StoreUnreachableError",
    "TSModelError",
    "TimeUnitWarning",
    "TimestampError",
    "TransportError",
    "TruncatedError",
    "UnavailableError",
    "UnflushedWarning",
    "UnsupportedError",
    "UpgradeError",
    "WriteError",
]


class TSModelError(Exception):
    """Root of all errors raised by tsmodel.

    Args:
        message: what was wrong, where, and what to do.
        data: values of the attributes that the class declares.
    """

    def __init__(self, message: str = "", **data: Any) -> None:
        super().__init__(message)
        for name, value in data.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}")
            setattr(self, name, value)


class SchemaError(TSModelError, TypeError):
    """A model class cannot be built. The message names the class, the field and the fix.

    Attributes:
        model: name of the model class, or None.
        field: name of the field at fault, or None.
    """

    model: str | None = None
    field: str | None = None


class UnavailableError(SchemaError, AttributeError):
    """A model lacks an attribute by its nature: a variable-size payload has no `dtype`, an abstract class no `query`."""


class TimestampError(TSModelError, ValueError):
    """A time cannot be converted to int64 nanoseconds since 2001-01-01T00:00:00Z, or back."""


class KeyRangeError(TSModelError, ValueError):
    """A key or key range holds a value that the key component cannot have.

    Attributes:
        field: name of the invalid key component, or None.
    """

    field: str | None = None


class QueryError(TSModelError):
    """A query is malformed: an unknown field, a value of the wrong type, an expression used as a truth value."""


class NoResultError(QueryError):
    """`one()` found no record."""


class MultipleResultsError(QueryError):
    """`one()` or `one_or_none()` found more than one record."""


class CheckpointError(TSModelError):
    """A checkpoint file belongs to something else, is damaged, or cannot be read or written."""


class SessionError(TSModelError):
    """A session was misused: it is closed, an argument is not valid, or the target is unknown."""


class NoSessionError(SessionError):
    """`Model.query` was run without an open session in this context."""


class EncodeError(TSModelError, ValueError):
    """A record cannot be written: a field has the wrong type or is out of range. Nothing was stored.

    Attributes:
        record: number of the record, counted from 0 since the last receipt; None for a single record.
        field: name of the invalid field, or None.
        value: the invalid value.
    """

    record: int | None = None
    field: str | None = None
    value: object = None


class DecodeError(TSModelError, ValueError):
    """Stored bytes do not match the model.

    Attributes:
        key: the key of the record, or None if only a payload was decoded.
        payload: the bytes of the payload.
        offset: byte offset in the payload where decoding failed, or None.
        field: name of the invalid field, or None.
    """

    key: Key | None = None
    payload: bytes = b""
    offset: int | None = None
    field: str | None = None


class UpgradeError(DecodeError):
    """A record of an older version could not be upgraded. The exception of the upgrade is chained.

    Raised even with `on_error("skip")`, which skips only payloads that do not match: here the payload is valid.

    Attributes:
        old: name of the older version.
        new: name of the newer version.
    """

    old: str | None = None
    new: str | None = None


class ConversionFault(NamedTuple):
    """One fault in outside data.

    Attributes:
        why: what is wrong, as text.
        path: the field, with dots for nested fields, such as `phase.volts` or `samples.3`; empty for the whole object.
        value: the invalid value; None if it is missing.
        line: line of the file, counted from 1, or None.
        column: the file's name for the column, or None.
    """

    why: str
    path: str = ""
    value: object = None
    line: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        column = f"column {self.column!r}" if self.column is not None else ""
        named = f"{column} ({self.path})" if column and self.path not in ("", self.column) else column or self.path
        where = ", ".join(filter(None, [f"line {self.line}" if self.line is not None else "", named]))
        return f"{where}: {self.why}" if where else self.why


class ConversionError(TSModelError, ValueError):
    """Outside data (a dict, JSON, CSV) do not match the model. Invalid data are never converted.

    Attributes:
        faults: all faults; for a file, the first ones.
        line: line of the file, counted from 1, if all faults are in one line.
        record: the invalid data as they were given, if they are one record.
    """

    faults: tuple[ConversionFault, ...] = ()
    line: int | None = None
    record: object = None


class WriteError(TSModelError):
    """A session could not store all of its objects. The cause is chained.

    Every record added since the last receipt is in one of three states. The session holds those not known to be stored.

    Attributes:
        stored: number of records known to be stored.
        not_stored: the objects known not to be stored, in the order of addition; the next `flush` stores them.
        unknown: the objects of in-doubt puts: sent but never acknowledged; `Session.retry` settles them.
        not_stored_numbers: the numbers of `not_stored`, counted from 0 since the last receipt.
        unknown_numbers: the same for `unknown`.
    """

    stored: int = 0
    not_stored: tuple[TSModel, ...] = ()
    unknown: tuple[TSModel, ...] = ()
    not_stored_numbers: Sequence[int] = ()
    unknown_numbers: Sequence[int] = ()


class CommitTimeoutError(TSModelError, TimeoutError):
    """The awaited records were not fully committed in time.

    Attributes:
        acq: the last full-commit acq that the database reported, ns since 2001.
        wanted: the acq that it had to exceed, ns since 2001.
    """

    acq: int | None = None
    wanted: int | None = None


class ProtocolError(TSModelError):
    """The TStorage wire protocol was violated."""


class LocalProtocolError(ProtocolError):
    """This side tried to send something that the protocol does not allow, or used a reader or writer out of turn."""


class RemoteProtocolError(ProtocolError):
    """The peer sent bytes that the protocol does not allow.

    Attributes:
        offset: byte offset in the peer's message, counted from its first byte, or None.
    """

    offset: int | None = None


class TruncatedError(RemoteProtocolError):
    """The peer closed the connection in the middle of a message."""


class ServerError(TSModelError):
    """The server answered a request with an error status.

    Attributes:
        status: the status in the header of the response (negative; see `tsmodel.wire.Status`).
    """

    status: int | None = None


class TransportError(TSModelError, OSError):
    """The connection could not be made, was lost, or timed out. The cause is chained.

    The error is also an instance of Python's own exception for the failure, such as `ConnectionRefusedError`.
    """


class PoolTimeoutError(TransportError, TimeoutError):
    """No connection of a pool became free in time. Nothing was sent.

    Attributes:
        busy: number of connections in use.
        size: maximum number of connections.
    """

    busy: int | None = None
    size: int | None = None


class UnsupportedError(TSModelError):
    """The backend does not support the operation. The message says what to do instead."""


class StoreError(TSModelError):
    """An operation of the embedded store failed. The cause is chained.

    Attributes:
        path: path of the store's file, or None for a store in memory.
    """

    path: str | None = None


class StoreFormatError(StoreError):
    """The file is not a tsmodel store, or was written by a newer version of tsmodel."""


class StoreCorruptError(StoreError):
    """The file is a tsmodel store whose content is damaged."""


class StoreRecoveryError(StoreError):
    """The store was opened read-only, but has a journal that only a process with write access can recover."""


class StoreInDoubtError(StoreError):
    """A put failed, but may be stored all the same. Open the store again to find out."""


class SpoolFullError(StoreError):
    """The spool has no room for a put. No part of the put was stored.

    Attributes:
        size: bytes in the spool.
        most: maximum size of the spool in bytes.
    """

    size: int | None = None
    most: int | None = None


class StoreUnreachableError(StoreError, TransportError):
    """The database that holds the store could not be reached, or the connection was lost. Nothing was stored."""


class StoreUnansweredError(StoreInDoubtError, TransportError):
    """The connection to the database that holds the store was lost during a commit, and the database could not be asked
    afterwards, so the records may be stored or not. `Retry(on_unknown="check")` asks it later."""


class MissingLibraryError(TSModelError, ImportError):
    """A feature needs a library that is not installed. The message says how to install it.

    Attributes:
        library: the library's name.
    """

    library: str | None = None


class RemovedWarning(UserWarning):
    """Records were removed from a store after a `follow` or a `copy` had passed them, so their copies, or results derived
    from them, still exist.

    Each removal is reported once. If a warnings filter turns the warning into an error, the work stops before the removal
    counts as reported.

    Attributes:
        removals: the removals, as `session.removals()` returns them.
    """

    def __init__(self, message: str, *, removals: Sequence[Removal] = ()) -> None:
        super().__init__(message)
        self.removals = tuple(removals)


class TimeUnitWarning(UserWarning):
    """A record's `cap` looks like a time since 1970, or in another unit than nanoseconds.

    Issued once for a session and model, for the first record that it stores. The record is stored as it is. If a warnings
    filter turns the warning into an error, nothing is stored.
    """


class UnflushedWarning(UserWarning):
    """A session ended with records that were added but never stored."""


def check_type(
    value: object, kind: type | tuple[type, ...], expected: str, error: type[TSModelError] = SessionError
) -> None:
    """Refuses an argument of a wrong type. Used where the value would otherwise fail later, and inside tsmodel.

    Args:
        value: the argument.
        kind: the type that it must have, or several.
        expected: the beginning of the message, such as "copy() takes a session".
        error: the error to raise.
    """
    if not isinstance(value, kind):
        raise error(f"{expected}, not {value!r} ({type(value).__name__})")

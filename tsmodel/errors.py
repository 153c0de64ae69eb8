"""Every exception tsmodel raises, under one root.

Rules kept here:

* One root, `TSModelError`; a family for each thing that can go wrong, to be caught as widely as one means to.
* *Local* protocol errors mean that this side misused the protocol; *remote* ones that the peer did.
* What a program may want to act on (record number, field, key, status, offset) is an attribute, not only text.
* Every error can be pickled: data are keyword arguments with defaults, so that the default reduction rebuilds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

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
    "StoreUnansweredError",
    "StoreUnreachableError",
    "TSModelError",
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
    """Root of all errors raised by tsmodel."""


class SchemaError(TSModelError, TypeError):
    """A model class cannot be built; names the class, the field and the mend.

    Attributes:
        model: name of the model class, or None.
        field: name of the field at fault, or None.
    """

    def __init__(self, message: str, *, model: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.model = model
        self.field = field


class UnavailableError(SchemaError, AttributeError):
    """A model has no such attribute, and why: a payload of varying size has no `dtype`, an abstract class no `query`."""


class TimestampError(TSModelError, ValueError):
    """A time cannot be expressed as int64 nanoseconds since 2001-01-01T00:00:00Z, or the other way round."""


class KeyRangeError(TSModelError, ValueError):
    """A key or key range holds a value that its field cannot have.

    Attributes:
        field: name of the key field at fault, or None.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class QueryError(TSModelError):
    """A query is malformed: an unknown field, a value of the wrong type, an expression used as a truth value."""


class NoResultError(QueryError):
    """`one()` found no record."""


class MultipleResultsError(QueryError):
    """`one()` or `one_or_none()` found more than one record."""


class CheckpointError(TSModelError):
    """A checkpoint file is of something else, is damaged, or cannot be read or written."""


class SessionError(TSModelError):
    """A session was used in a way it cannot be: closed, wrong kind of object, unknown target."""


class NoSessionError(SessionError):
    """`Model.query` was run while no session is open in this context."""


class EncodeError(TSModelError, ValueError):
    """A record cannot be written: a field has the wrong type or is out of range. Nothing was stored.

    Attributes:
        record: number of the record, counted from 0 over what was added since the last flush; None when single.
        field: name of the field at fault, or None.
        value: the value at fault.
    """

    def __init__(self, message: str, *, record: int | None = None, field: str | None = None, value: object = None) -> None:
        super().__init__(message)
        self.record = record
        self.field = field
        self.value = value


class DecodeError(TSModelError, ValueError):
    """Stored bytes do not fit the model.

    Attributes:
        key: the key of the record, or None when only a payload was given.
        payload: the payload's bytes.
        offset: byte offset in the payload where decoding failed, or None.
        field: name of the field at fault, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        key: Key | None = None,
        payload: bytes = b"",
        offset: int | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.key = key
        self.payload = payload
        self.offset = offset
        self.field = field


class UpgradeError(DecodeError):
    """A record of an older version could not be upgraded; what the upgrade raised is chained.

    Raised also where `on_error("skip")` leaves out payloads that do not fit: it is not the payload that is at fault.

    Attributes:
        old: name of the older version.
        new: name of the newer version.
    """

    def __init__(
        self, message: str, *, key: Key | None = None, payload: bytes = b"", old: str | None = None, new: str | None = None
    ) -> None:
        super().__init__(message, key=key, payload=payload)
        self.old = old
        self.new = new


class ConversionFault(NamedTuple):
    """One thing that is wrong with outside data.

    Attributes:
        why: what is wrong, in words.
        path: the field, with dots where it lies within another, such as `phase.volts` or `samples.3`; empty for the whole.
        value: the value at fault; None when it is missing.
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
    """Outside data (a dict, JSON, CSV) are not what the model takes. Nothing was made of the data at fault.

    Attributes:
        faults: all that is wrong, or the first so many of a file.
        line: line of the file, when all is in one line; counted from 1.
        record: the data at fault as they were given, when they are one record's.
    """

    def __init__(
        self,
        message: str,
        *,
        faults: tuple[ConversionFault, ...] = (),
        line: int | None = None,
        record: object = None,
    ) -> None:
        super().__init__(message)
        self.faults = faults
        self.line = line
        self.record = record


class WriteError(TSModelError):
    """Not all of what a session holds could be stored. The cause is chained.

    Every record added since the last receipt is in one of three states. The session keeps those that are not surely stored.

    Attributes:
        stored: how many are surely stored.
        not_stored: the objects that are surely not stored, in the order of addition; the next `flush` stores them.
        unknown: the objects that were sent and never answered for; `retry` says how to settle them.
        not_stored_numbers: their numbers, counted from 0 over what was added since the last receipt.
        unknown_numbers: the same for `unknown`.
    """

    def __init__(
        self,
        message: str,
        *,
        stored: int = 0,
        not_stored: tuple[TSModel, ...] = (),
        unknown: tuple[TSModel, ...] = (),
        not_stored_numbers: Sequence[int] = (),
        unknown_numbers: Sequence[int] = (),
    ) -> None:
        super().__init__(message)
        self.stored = stored
        self.not_stored = not_stored
        self.unknown = unknown
        self.not_stored_numbers = not_stored_numbers
        self.unknown_numbers = unknown_numbers


class CommitTimeoutError(TSModelError, TimeoutError):
    """What was waited for was not fully committed in time.

    Attributes:
        acq: the last full-commit acq that the database answered, ns since 2001.
        wanted: the acq that it should have passed.
    """

    def __init__(self, message: str, *, acq: int | None = None, wanted: int | None = None) -> None:
        super().__init__(message)
        self.acq = acq
        self.wanted = wanted


class ProtocolError(TSModelError):
    """The TStorage wire protocol was violated."""


class LocalProtocolError(ProtocolError):
    """This side tried to send what the protocol does not allow, or used a reader or writer out of turn."""


class RemoteProtocolError(ProtocolError):
    """The peer sent bytes that the protocol does not allow.

    Attributes:
        offset: byte offset in the peer's message, counted from its first byte, or None.
    """

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class TruncatedError(RemoteProtocolError):
    """The peer ended the connection in the middle of a message."""


class ServerError(TSModelError):
    """The server answered a request with an error status.

    Attributes:
        status: the status of the answer's header (negative; see `tsmodel.wire.Status`).
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TransportError(TSModelError, OSError):
    """The connection could not be made, was lost, or timed out; the cause is chained.

    It is also what Python itself raises for what happened, such as a `ConnectionRefusedError`.
    """


class PoolTimeoutError(TransportError, TimeoutError):
    """No connection of a pool became free in time. Nothing was sent.

    Attributes:
        busy: how many connections are in use.
        size: how many there may be.
    """

    def __init__(self, message: str, *, busy: int | None = None, size: int | None = None) -> None:
        super().__init__(message)
        self.busy = busy
        self.size = size


class UnsupportedError(TSModelError):
    """A kind of backend cannot do what was asked; the message says what to do instead."""


class StoreError(TSModelError):
    """The embedded store could not do what was asked; the cause is chained.

    Attributes:
        path: path of the store's file, or None for a store in memory.
    """

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class StoreFormatError(StoreError):
    """The file is not a tsmodel store, or was written by a newer version of tsmodel."""


class StoreCorruptError(StoreError):
    """The file is a tsmodel store whose content is damaged."""


class StoreInDoubtError(StoreError):
    """Storing ended in an error, and what was to be stored may be there all the same. Open the store again to see."""


class SpoolFullError(StoreError):
    """A spool has no room for a put; nothing of the put was stored.

    Attributes:
        size: bytes that it holds.
        most: bytes that it may hold.
    """

    def __init__(self, message: str, *, path: str | None = None, size: int | None = None, most: int | None = None) -> None:
        super().__init__(message, path=path)
        self.size = size
        self.most = most


class StoreUnreachableError(StoreError, TransportError):
    """The database that holds the store could not be reached, or the connection was lost. Nothing was stored."""


class StoreUnansweredError(StoreInDoubtError, TransportError):
    """The connection to the database that holds the store was lost while records were committed, and it could not be asked
    since: whether they are stored is not known. `Retry(on_unknown="check")` asks it later."""


class MissingLibraryError(TSModelError, ImportError):
    """Something needs a library that is not installed; the message says how to install it.

    Attributes:
        library: the library's name.
    """

    def __init__(self, message: str, *, library: str | None = None) -> None:
        super().__init__(message)
        self.library = library


class RemovedWarning(UserWarning):
    """Records were removed from a store that a `follow` or a `copy` had passed already: what was made of them, or the copy
    of them, is still there. Each removal is told once; a filter that makes an error of the warning stops the work before
    anything is counted as told.

    Attributes:
        removals: the removals, as `session.removals()` gives them.
    """

    def __init__(self, message: str, *, removals: Sequence[Removal] = ()) -> None:
        super().__init__(message)
        self.removals = tuple(removals)


class UnflushedWarning(UserWarning):
    """A session went away with records that were added but never stored."""

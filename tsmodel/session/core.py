"""The common part of `Session` and `AsyncSession`: their options, their state, and the work of their methods."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import attrs
import msgspec

from tsmodel.backend import PutId, PutInfo, Remover, Sharded
from tsmodel.errors import QueryError, SessionError, StoreError, TSModelError, UnsupportedError
from tsmodel.forking import in_child
from tsmodel.io.effects import Block, Work
from tsmodel.io.fetching import Around
from tsmodel.io.retry import ONCE, OnUnknown, Retry, seconds_of
from tsmodel.keys import KEY_FIELDS
from tsmodel.model import TSModel
from tsmodel.model.meta import schema_of
from tsmodel.model.model import codec_of
from tsmodel.session.observing import CallableHooks, Hooks, OnRequest, OnResponse, Watch
from tsmodel.session.pending import Limits, Pending
from tsmodel.session.puts import ColumnRows, made_of
from tsmodel.session.receipt import Receipt
from tsmodel.session.writer import Writer
from tsmodel.store.capabilities import Caretaker, settles_puts
from tsmodel.timestamps import DurationLike, now_ns

if TYPE_CHECKING:
    from tsmodel.session.forwarding import SpoolState
    from tsmodel.session.target import SpoolOptions

__all__ = [
    "BACKUP_INSTEAD",
    "COMPACT_INSTEAD",
    "DRAINER_SECONDS",
    "Exclusive",
    "SessionBase",
    "SessionOptions",
    "Undoable",
    "answered",
    "corrected",
    "noted",
    "prunable",
    "to_undo",
]

M = TypeVar("M", bound=TSModel)
P = ParamSpec("P")
R = TypeVar("R")

BACKUP_INSTEAD = "copy its records to a session on a file, with session.copy(KeyRange(), to=other)"
_REMOVE_INSTEAD = (
    "TStorage keeps every record. Copy what is to stay to another database, by session.copy(query, to=other) with a "
    "condition on acq, such as Reading.acq < receipt.acq_min, and use that one from then on"
)
COMPACT_INSTEAD = "a server looks after its own files"

DRAINER_SECONDS = 1.0
"""How long closing a session waits for its drainer to end, in seconds."""

Undoable: TypeAlias = "Receipt | PutInfo | Iterable[Receipt | PutInfo]"
"""The argument of `undo`."""

_log = logging.getLogger("tsmodel.session")


@attrs.frozen(kw_only=True)
class SessionOptions:
    """How a session writes; see `connect` for each option."""

    batch_size: int = 100_000
    batch_bytes: int | None = None
    batch_age: DurationLike | None = None
    flush_every: DurationLike | None = None
    retry: Retry | None = None
    allow_full_scan: bool = True
    on_request: OnRequest | None = None
    on_response: OnResponse | None = None
    telemetry: Hooks | bool = False

    def __attrs_post_init__(self) -> None:
        import inspect

        if self.retry is not None and not isinstance(self.retry, Retry):
            raise SessionError(f"retry takes a Retry, not {self.retry!r}")
        self.limits()
        _ = self.flush_seconds
        for name in ("on_request", "on_response"):
            hook = getattr(self, name)
            if hook is not None and (not callable(hook) or inspect.iscoroutinefunction(hook)):
                raise SessionError(f"{name} takes a function, in asynchronous sessions too, not {hook!r}")
        if not isinstance(self.telemetry, bool) and not hasattr(self.telemetry, "on_response"):
            raise SessionError(f"telemetry takes True or an OpenTelemetry, not {self.telemetry!r}")

    def hooks(self) -> tuple[Hooks, ...]:
        """The hooks to call for each request.

        Raises:
            MissingLibraryError: when `telemetry` is set and opentelemetry-api is not installed.
        """
        from tsmodel.session.observing import OpenTelemetry

        found: list[Hooks] = []
        if self.telemetry:
            found.append(OpenTelemetry() if self.telemetry is True else self.telemetry)
        if self.on_request is not None or self.on_response is not None:
            found.append(CallableHooks(self.on_request, self.on_response))
        return tuple(found)

    def limits(self) -> Limits:
        """The limits at which a session stores on its own.

        Raises:
            SessionError: when a limit is not valid.
        """
        return Limits(self.batch_size, self.batch_bytes, self.batch_age)

    @property
    def flush_seconds(self) -> float | None:
        """Seconds between background flushes; None for no background flushes.

        Raises:
            SessionError: when `flush_every` is not a duration.
        """
        return None if self.flush_every is None else seconds_of(self.flush_every, "flush_every")


class Exclusive(msgspec.Struct, eq=False):
    """Runs work on the backend while no other thread or task stores records of the session.

    Attributes:
        work: the work.
        then: called after it, before anything else is stored; its return value is the answer.
    """

    work: Work[None]
    then: Callable[[], Any] | None = None


def answered(function: Callable[P, R], *args: P.args, **options: P.kwargs) -> Work[R]:
    """Work of a single effect: a call of a backend's function."""
    answer: R = yield Block(partial(function, *args, **options))
    return answer


class SessionBase:
    """The state of a session, and the work of its methods.

    Args:
        name: the name of the backend in messages.
        options: how the session writes.
        spool: keeps puts that the server cannot take now; None for no spool.
    """

    def __init__(self, name: str, options: SessionOptions, spool: SpoolOptions | None = None) -> None:
        self._name = name
        self._limits = options.limits()
        self._retry = options.retry or ONCE
        self._spooling = spool
        self._forwarder = None if spool is None else spool.forwarder(name, seconds_of(self._retry.settle, "settle"))
        self._begin(is_remote=True)
        self._flush_seconds = options.flush_seconds
        self.allow_full_scan = options.allow_full_scan
        hooks = options.hooks()
        self._around: Around | None = Watch(hooks, name).around if hooks else None
        self._lock: AbstractContextManager[object] = nullcontext()
        self._backend: Any = None
        self._drainer: Any = None
        in_child(self._forked)

    @property
    def backend(self) -> Any:
        """The backend, of an open session."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The name of the backend in messages."""
        return self._name

    @property
    def retries(self) -> Retry:
        """The retry policy."""
        return self._retry

    @property
    def spool(self) -> SpoolState | None:
        """The current state of the session's spool; None for a session without one.

        Raises:
            StoreError: when the spool cannot be read.
        """
        return None if self._forwarder is None else self._forwarder.state()

    @property
    def pending(self) -> tuple[TSModel, ...]:
        """The objects that were added but not stored yet, in the order of addition, without those in doubt."""
        with self._lock:
            return self._pending.rows()

    @property
    def in_doubt(self) -> tuple[TSModel, ...]:
        """The objects of in-doubt puts: sent but never acknowledged, so they may be stored. `retry` settles them."""
        with self._lock:
            return self._pending.in_doubt()

    def discard(self, *, in_doubt_only: bool = False) -> list[TSModel]:
        """Drops the objects that are not known to be stored (or only those in doubt), and returns them."""
        with self._lock:
            return self._pending.discard(in_doubt_only=in_doubt_only)

    def _unsupported(self, what: str, instead: str) -> UnsupportedError:
        """The error of an operation that the backend does not offer."""
        return UnsupportedError(f"{what} works on embedded files only, and {self._name} is a server: {instead}")

    def _caretaker(self, what: str, instead: str) -> Caretaker:
        """The backend, which looks after its store.

        Raises:
            UnsupportedError: when the session is on a server.
        """
        backend = self.backend
        if not isinstance(backend, Caretaker):
            raise self._unsupported(what, instead)
        return backend

    def _remover(self, what: str, *, only_stored: bool = False) -> Any:
        """The backend, which can remove records.

        Raises:
            UnsupportedError: when the session is on a server.
            SessionError: when `only_stored`, and the session holds records that are not stored.
        """
        backend = self.backend
        if not isinstance(backend, Remover):
            raise self._unsupported(what, _REMOVE_INSTEAD)
        if only_stored:
            self._check_stored(what)
        return backend

    def _bound(self, receipt: Receipt) -> Receipt:
        """Binds a receipt to the session, for `Receipt.wait_committed`."""
        raise NotImplementedError

    def _check_stored(self, what: str) -> None:
        """Checks that no records are pending or in doubt.

        Raises:
            SessionError: when some are.
        """
        with self._lock:
            count = self._pending.held_count
        if count:
            raise SessionError(
                f"{what} covers stored records only, but {count} records are pending or in doubt: flush() or "
                "discard() them first"
            )

    def _begin(self, *, is_remote: bool) -> None:
        """Starts with nothing pending."""
        self._pending = Pending(self._name, self._limits)
        self._writer = Writer(self._pending, self._name, self._retry, self._forwarder)
        self._writer.is_remote = is_remote
        self._failure: Exception | None = None
        self._finalizer = weakref.finalize(self, self._pending.warn)

    def _on(self, backend: object) -> None:
        """Takes what writing depends on from a backend that blocks."""
        self._writer.is_remote = not settles_puts(backend)
        self._pending.shard_of = backend.shard_of if isinstance(backend, Sharded) else None

    def _forked(self) -> None:
        """Resets the session in a forked process: the parent stores what was added before the fork."""
        self._finalizer.detach()
        if self._forwarder is not None:
            self._forwarder.begin()
        shard_of = self._pending.shard_of
        self._begin(is_remote=self._writer.is_remote)
        self._pending.shard_of = shard_of

    def _add_all(self, rows: Iterable[TSModel], keep_acq: bool, unless_stored: bool) -> Work[None]:
        _ = self.backend
        source = iter(rows)
        more = True
        while more:
            taken, more, failure = self._pending.taken(source)
            with self._lock:
                _ = self.backend
                self._pending.extend(taken, keep_acq=keep_acq, unless_stored=unless_stored)
            if failure is not None:
                raise failure
            yield from self._added()

    def _add_columns(self, model: Any, columns: Mapping[str, Any], keep_acq: bool, unless_stored: bool) -> Work[int]:
        from tsmodel.frames.input import given_columns

        _ = self.backend
        given, count = given_columns(_model(model, "add_columns"), columns)
        yield from self._take(made_of(model, given, count, with_acq=keep_acq), keep_acq, unless_stored)
        return count

    def _add_frame(
        self, model: Any, frame: Any, columns: Mapping[str, str] | None, keep_acq: bool, unless_stored: bool
    ) -> Work[int]:
        from tsmodel.frames.input import frame_columns

        _ = self.backend
        total = 0
        for first, given, count in frame_columns(_model(model, "add_frame"), frame, columns):
            yield from self._take(made_of(model, given, count, with_acq=keep_acq, first=first), keep_acq, unless_stored)
            total += count
        return total

    def _take(self, rows: ColumnRows | list[Any], keep_acq: bool, unless_stored: bool) -> Work[None]:
        """Adds the records of columns."""
        with self._lock:
            if isinstance(rows, list):
                self._pending.extend(rows, keep_acq=keep_acq, unless_stored=unless_stored)
            else:
                self._pending.take_columns(rows, keep_acq=keep_acq, unless_stored=unless_stored)
        yield from self._added()

    def _added(self) -> Work[None]:
        """Raises a failure of the background flusher; stores full batches."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._pending.is_full:
            yield Exclusive(self._store_if_full())

    def _store_if_full(self) -> Work[None]:
        if self._pending.is_full:  # another thread or task may have stored it meanwhile
            yield from self._writer.store()

    def _flush(self, on_unknown: OnUnknown | None, note: str | None = None) -> Work[Receipt]:
        _ = self.backend
        remover = None if noted(note) is None else self._remover("flush(note=...)")

        def work() -> Work[None]:
            yield from self._writer.flush(on_unknown)
            if remover is not None and (stored := self._pending.stored_puts):
                yield Block(partial(remover.annotate, stored, note))  # if this fails, the next flush returns the receipt

        receipt: Receipt = yield Exclusive(work(), self._flushed)
        return receipt

    def _flushed(self) -> Receipt:
        with self._lock:
            self._failure = None  # what it could not store is stored now
            return self._bound(self._pending.receipt())

    def _flush_quietly(self) -> Work[None]:
        if self._failure is not None or self._backend is None:
            return
        try:
            yield Exclusive(self._writer.store())
        except TSModelError as error:  # the next call raises it
            _log.warning("flushing %s in the background failed: %s", self._name, error)
            self._failure = error

    def _drained(self, seconds: float | None, *, while_fine: bool = False) -> Work[bool]:
        if self._forwarder is None:
            return True
        if self._drainer is not None and not while_fine:
            self._drainer.hurry()
        return (yield from self._forwarder.emptied(seconds, while_fine=while_fine))

    def _leave_spool(self) -> Work[None]:
        """Waits for the spool to drain before closing, for a limited time and while the server can be reached."""
        if self._spooling is not None:
            with suppress(StoreError):
                yield from self._drained(self._spooling.wait, while_fine=True)


def _model(model: Any, method: str) -> type[TSModel]:
    if not (isinstance(model, type) and issubclass(model, TSModel)):
        raise SessionError(f"{method} takes a model first, not {model!r} ({type(model).__name__})")
    return model


def to_undo(what: Undoable) -> list[PutId]:
    """The puts to undo.

    Raises:
        SessionError: when `what` names no puts.
    """
    found: dict[PutId, None] = {}
    is_single = isinstance(what, (Receipt, PutInfo, str)) or not isinstance(what, Iterable)
    listed: Iterable[Any] = [what] if is_single else what  # type: ignore[assignment]
    for each in listed:
        if isinstance(each, PutInfo):
            found[each.id] = None
        elif not isinstance(each, Receipt):
            hint = f"; for put {each}: [put for put in session.puts() if put.number == {each}]" if type(each) is int else ""
            raise SessionError(f"undo() takes receipts of flush(), or entries of session.puts(), not {each!r}{hint}")
        elif not each.puts:
            raise SessionError(
                "this receipt names no puts: nothing was stored" if not each.count else "this receipt names no puts"
            )
        else:
            found.update(dict.fromkeys(each.puts))
    if not found:
        raise SessionError("undo() needs a receipt of flush() or an entry of puts(), and was given none")
    return list(found)


def noted(note: object) -> str | None:
    """Checks that a note is text or None; raises SessionError otherwise."""
    if note is not None and not isinstance(note, str):
        raise SessionError(f"note must be text, not {note!r}")
    return note


def prunable(model: Any) -> int:
    """The capture time before which `prune` removes records of a model, ns since 2001.

    Raises:
        QueryError: when the model has no retention, or its records cannot be told apart from those of other models.
    """
    if not isinstance(model, type):
        raise QueryError(f"prune() takes one model, not {model!r}")
    schema, name = schema_of(model), model.__name__
    if schema.retention is None:
        raise QueryError(f'{name} has no retention: write class {name}(..., retention="400d")')
    if any(not discriminator.keys and discriminator.version is None for discriminator in codec_of(model).discriminators):
        raise QueryError(
            f"records of {name} cannot be told apart from those of other models, which would be removed too: fix a key "
            f"component, as in class {name}(TSModel, moid=7, retention=...), or give it a version byte"
        )
    return now_ns() - schema.retention


def corrected(row: M, changes: dict[str, Any]) -> M:
    """A copy of a record with other values and without acq.

    Raises:
        SessionError: when there are no changes, or a change is to the key.
    """
    if not isinstance(row, TSModel):
        raise SessionError(f"correct() takes an object of a model, not {row!r} ({type(row).__name__})")
    model = type(row).__name__
    fields = [field.name for field in type(row).layout.fields]
    for name in changes:
        if name in KEY_FIELDS:
            raise SessionError(
                f"a correction keeps the key, and the database assigns its acq: {name} cannot change. Add a new {model} "
                "instead"
            )
        if name not in fields:
            raise SessionError(f"{model} has no field {name!r}; it has {', '.join(fields)}")
    if not changes:
        raise SessionError(f"correct() needs a field to change: correct(row, {fields[0] if fields else 'field'}=...)")
    struct: Any = row  # checkers do not see that models are Structs
    correction: M = msgspec.structs.replace(struct, acq=-1, **changes)
    return correction

"""`AsyncSession`: the asynchronous session. It keeps the rules of `Session`, and these:

* Several tasks may use one session: their flushes wait for one another.
* Opening has to wait, so it happens on entering `async with`, or by awaiting `open()`.
* In a forked process the session is not open, because its event loop stays in the parent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from typing_extensions import Self

from tsmodel.backend import AsyncBackend, AsyncRemover, PutInfo, Removal
from tsmodel.errors import SessionError, StoreError, TSModelError
from tsmodel.io.effects import Work
from tsmodel.io.fetching import OnAsyncBackend, OnWatchedAsyncBackend
from tsmodel.io.retry import OnUnknown, seconds_of
from tsmodel.io.runners import perform_async, run_async
from tsmodel.io.threads import ThreadedStore, in_thread
from tsmodel.keys import KeyRange
from tsmodel.model import TSModel
from tsmodel.query import AsyncQuery, QuerySpec
from tsmodel.session.core import (
    BACKUP_INSTEAD,
    COMPACT_INSTEAD,
    DRAINER_SECONDS,
    REMOVE_INSTEAD,
    SessionBase,
    SessionOptions,
    Undoable,
    corrected,
    noted,
    prunable,
    to_undo,
)
from tsmodel.session.receipt import Receipt
from tsmodel.store.capabilities import Caretaker
from tsmodel.timestamps import DurationLike

if TYPE_CHECKING:
    from tsmodel.io.threads import AsyncFlusher
    from tsmodel.session.copying import Copied, OnCopied
    from tsmodel.session.forwarding import AsyncDrainer
    from tsmodel.session.target import SpoolOptions
    from tsmodel.store.maintenance import Compacted, OnProgress, Verified

__all__ = ["AsyncSession"]

M = TypeVar("M", bound=TSModel)


class AsyncSession(SessionBase):
    """A unit of work on an asynchronous backend. Usually made by `connect_async`.

    Args:
        opener: opens the backend, which is closed with the session.
        name: the name of the backend in messages.
        options: how the session writes.
        spool: keeps puts that the backend cannot take now; None for no spool.
        named: the options as keywords, as for `connect`.
    """

    def __init__(
        self,
        opener: Callable[[], Awaitable[AsyncBackend]],
        *,
        name: str = "session",
        options: SessionOptions | None = None,
        spool: SpoolOptions | None = None,
        **named: Any,
    ) -> None:
        super().__init__(name, options or SessionOptions(**named), spool)
        self._opener = opener
        self._backend: AsyncBackend | None = None
        self._writing = asyncio.Lock()
        self._flusher: AsyncFlusher | None = None
        self._drainer: AsyncDrainer | None = None
        self._was_forked = False

    @property
    def backend(self) -> AsyncBackend:
        """The backend.

        Raises:
            SessionError: when the session is not open.
        """
        if self._backend is None:
            how = "was opened before the fork: open another in this process, and" if self._was_forked else "is not open:"
            raise SessionError(f"the session on {self._name} {how} use it inside `async with connect_async(...)`")
        return self._backend

    def on_backend(self) -> OnAsyncBackend:
        """See `Session.on_backend`."""
        if self._around is None:
            return OnAsyncBackend(self.backend)
        return OnWatchedAsyncBackend(self.backend, self._around)

    async def open(self) -> Self:
        """Opens the backend if it is not open.

        Raises:
            StoreError: when the file cannot be opened.
            TransportError: when the server cannot be reached.
        """
        from tsmodel.io.threads import AsyncFlusher

        if self._backend is None:
            self._backend = await self._opener()
            self._on(self._backend.store if isinstance(self._backend, ThreadedStore) else None)
            if self._flush_seconds is not None:
                self._flusher = AsyncFlusher(self._flush_seconds, self._flush_in_background)
            if self._forwarder is not None:
                from tsmodel.session.forwarding import AsyncDrainer

                self._drainer = AsyncDrainer(self._forwarder, self.on_backend(), self)
        return self

    async def add(self, row: TSModel, *, keep_acq: bool = False, unless_stored: bool = False) -> None:
        """See `Session.add`."""
        _ = self.backend
        if self._pending.add(row, keep_acq=keep_acq, unless_stored=unless_stored) or self._failure is not None:
            await self._added()

    async def add_all(self, rows: Iterable[TSModel], *, keep_acq: bool = False, unless_stored: bool = False) -> None:
        """See `Session.add_all`."""
        _ = self.backend
        source = iter(rows)
        more = True
        while more:
            taken, more, failure = self._pending.taken(source)
            self._pending.extend(taken, keep_acq=keep_acq, unless_stored=unless_stored)
            if failure is not None:
                raise failure
            await self._added()

    async def add_columns(
        self,
        model: type[M],
        columns: Mapping[str, Any] | None = None,
        /,
        *,
        keep_acq: bool = False,
        unless_stored: bool = False,
        **named: Any,
    ) -> int:
        """See `Session.add_columns`."""
        _ = self.backend
        rows = self._columns(model, columns, named, keep_acq)
        self._take(rows, keep_acq, unless_stored)
        await self._added()
        return len(rows)

    async def add_frame(
        self,
        model: type[M],
        frame: Any,
        *,
        columns: Mapping[str, str] | None = None,
        keep_acq: bool = False,
        unless_stored: bool = False,
    ) -> int:
        """See `Session.add_frame`."""
        _ = self.backend
        count = 0
        for rows in self._framed(model, frame, columns, keep_acq):
            self._take(rows, keep_acq, unless_stored)
            await self._added()
            count += len(rows)
        return count

    async def load_parquet(
        self,
        model: type[M],
        path: str | Path,
        *,
        columns: Mapping[str, str] | None = None,
        keep_acq: bool = False,
        unless_stored: bool = False,
        batch_size: int = 65_536,
    ) -> int:
        """See `Session.load_parquet`."""
        from tsmodel.frames.input import parquet_reader

        return await self.add_frame(
            model, parquet_reader(path, batch_size), columns=columns, keep_acq=keep_acq, unless_stored=unless_stored
        )

    async def correct(self, row: M, **changes: Any) -> M:
        """See `Session.correct`."""
        correction = corrected(row, changes)
        await self.add(correction)
        return correction

    async def flush(self, note: str | None = None) -> Receipt:
        """See `Session.flush`.

        On cancellation, a put to an embedded store is completed first. A put to a server is then in doubt.
        """
        return await self._flush(None, note)

    async def retry(self, on_unknown: OnUnknown = "check") -> Receipt:
        """See `Session.retry`."""
        return await self._flush(on_unknown)

    async def drain(self, timeout: DurationLike | None = None) -> bool:
        """See `Session.drain`."""
        _ = self.backend
        if self._drainer is not None:
            self._drainer.hurry()
        return await self._drained(None if timeout is None else seconds_of(timeout, "timeout"))

    async def wait_committed(self, receipt: Receipt, timeout: DurationLike | None = None) -> int:
        """Waits until the records of a receipt are fully committed. See `Receipt.wait_committed`."""
        return await run_async(receipt.waiting(timeout), self.on_backend())

    @overload
    def query(self, model: type[M]) -> AsyncQuery[M]: ...
    @overload
    def query(self, model: QuerySpec[M]) -> AsyncQuery[M]: ...
    @overload
    def query(self, model: UnionType) -> AsyncQuery[Any]: ...
    def query(self, model: Any) -> AsyncQuery[Any]:
        """A query on this session. It sees flushed records only.

        Args:
            model: a model, a union of models such as `Reading | Event`, or a `QuerySpec`.

        Raises:
            QueryError: when records of several models cannot be told apart.
        """
        return AsyncQuery(model, self)

    async def copy(
        self,
        what: AsyncQuery[Any] | QuerySpec[Any] | KeyRange,
        to: AsyncSession,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: OnCopied | None = None,
    ) -> Copied:
        """See `Session.copy`."""
        from tsmodel.session.copying import Copying, check_apart

        check_apart(self, to)
        copying = Copying(what, self, to.name, self.retries, checkpoint, progress)
        there = await run_async(copying.keys_there(), to.on_backend())
        on_backend = self.on_backend()
        on_backend.target = to.on_backend()
        return await run_async(copying.steps(there), on_backend)

    async def backup(self, path: str | os.PathLike[str], progress: OnProgress | None = None) -> Verified:
        """See `Session.backup`. It runs in a thread, which calls `progress`, and completes even when cancelled."""
        caretaker = self._caretaker("backup", BACKUP_INSTEAD)
        return await in_thread(lambda: caretaker.backup(path, progress))

    async def compact(self, progress: OnProgress | None = None) -> Compacted:
        """See `Session.compact`. It runs in a thread, which calls `progress`, and completes even when cancelled."""
        caretaker = self._caretaker("compact", COMPACT_INSTEAD)
        return await in_thread(lambda: caretaker.compact(progress))

    def remover(self, what: str) -> AsyncRemover:
        """See `Session.remover`."""
        remover = self._remover(what)
        self._check_stored(what)
        return remover

    async def undo(self, what: Undoable, note: str | None = None) -> int:
        """See `Session.undo`. It runs in a thread and completes even when cancelled."""
        puts = to_undo(what)
        return await self.remover("undo()").undo(puts, noted(note))

    async def prune(self, model: type[TSModel], dry_run: bool = False, *, note: str | None = None) -> int:
        """See `Session.prune`. It runs in a thread and completes even when cancelled."""
        from tsmodel.query.executor import AsyncExecutor

        query = self.query(model).cap_before(prunable(model))
        executor = AsyncExecutor(query.spec, self)
        return await executor.run(executor.removing("prune", dry_run=dry_run, note=noted(note)))

    async def puts(self) -> list[PutInfo]:
        """See `Session.puts`."""
        return await self._remover("puts()").puts()

    async def removals(self) -> list[Removal]:
        """See `Session.removals`."""
        return await self._remover("removals()").removals()

    async def close(self) -> None:
        """See `Session.close`."""
        if self._backend is None:
            return
        await self.flush()
        await self._leave_spool()
        await self._release()
        self._pending.warn()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._backend is None:
            return
        try:
            if error is None:
                await self.flush()
                await self._leave_spool()
        finally:
            await self._release()
        self._pending.warn()

    async def _added(self) -> None:
        self._tell()
        if self._pending.is_full:
            async with self._writing:
                if self._pending.is_full:  # another task may have stored it meanwhile
                    await self._carry_out(self._writer.store())

    async def _flush(self, on_unknown: OnUnknown | None, note: str | None = None) -> Receipt:
        _ = self.backend
        remover = None if noted(note) is None else self._remover("flush(note=...)")
        async with self._writing:
            await self._carry_out(self._writer.flush(on_unknown))
            if remover is not None and note is not None and self._pending.stored_puts:
                await remover.annotate(self._pending.stored_puts, note)
            self._failure = None  # what it could not store is stored now
            stored = self._pending.receipt()
        return stored.of_async()

    async def _carry_out(self, work: Work[None]) -> None:
        """Carries out work to its end even when cancelled, except for puts to a server and pauses, which are aborted."""
        working = asyncio.ensure_future(run_async(work, self.on_backend()))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            if self._writer.is_remote:
                working.cancel()
            await asyncio.wait([working])
            raise

    async def _flush_in_background(self) -> None:
        if self._failure is not None or self._backend is None:
            return
        try:
            async with self._writing:
                await self._carry_out(self._writer.store())
        except TSModelError as error:
            self._failed(error)

    def _remover(self, what: str) -> AsyncRemover:
        backend: object = self.backend
        if not isinstance(backend, AsyncRemover):
            raise self._unsupported(what, REMOVE_INSTEAD)
        return backend

    def _caretaker(self, what: str, instead: str) -> Caretaker:
        backend = self.backend
        return self._caretaker_of(backend.store if isinstance(backend, ThreadedStore) else backend, what, instead)

    async def _drained(self, seconds: float | None, *, while_fine: bool = False) -> bool:
        if self._forwarder is None:
            return True
        return await run_async(self._forwarder.emptied(seconds, while_fine=while_fine), perform_async)

    async def _leave_spool(self) -> None:
        """See `Session`."""
        if self._spooling is not None:
            with suppress(StoreError):
                await self._drained(self._spooling.wait, while_fine=True)

    async def _release(self) -> None:
        drainer, self._drainer = self._drainer, None
        if drainer is not None:
            await drainer.stop(DRAINER_SECONDS)
        flusher, self._flusher = self._flusher, None
        if flusher is not None:
            await flusher.stop()
        self._finalizer.detach()
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.close()

    def _forked(self) -> None:
        super()._forked()
        self._was_forked = self._was_forked or self._backend is not None
        self._backend, self._flusher, self._drainer, self._writing = None, None, None, asyncio.Lock()

    def __repr__(self) -> str:
        return f"<AsyncSession on {self._name}: {'not open' if self._backend is None else self._pending.state()}>"

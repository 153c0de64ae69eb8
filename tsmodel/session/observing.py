"""Hooks: a session tells them of each request to its backend, before it is sent and when its outcome is known.

Rules kept here:

* `on_request` is called before anything is sent: what it raises stops the request, of which surely nothing is stored.
* `on_response` is called when the outcome is known: what it raises is logged, and changes nothing.
* The batches of a put are not touched before the backend takes them: by that a session knows what was sent.
* OpenTelemetry names follow its semantic conventions for database client calls: the span is named after the operation, and
  the histogram `db.client.operation.duration` counts seconds. Records and bytes are counted as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload

import attrs
import msgspec

from tsmodel.backend import AcqInterval, AsyncBackend, AsyncScan, Backend, Batch, Removal, Scan, Spare
from tsmodel.frames.libraries import library
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.unstored import Unstored

__all__ = ["AsyncObserved", "Hooks", "Observed", "OnRequest", "OnResponse", "OpenTelemetry", "Request", "Response"]

T = TypeVar("T")

_log = logging.getLogger("tsmodel.hooks")


@attrs.frozen(eq=False)
class Request:
    """Something that a session is about to ask of its backend.

    Attributes:
        operation: what is asked, in the protocol's words; `GET` for a key range of a query.
        target: what the session's target is called.
        box: the key range of a GET or GETACQ.
        notes: whatever hooks want to find again in the response.
    """

    operation: Literal["GET", "GETACQ", "PUT", "PUTA"]
    target: str
    box: KeyRange | None = None
    notes: dict[str, Any] = attrs.field(factory=dict, repr=False)


class Response(msgspec.Struct, eq=False):
    """What became of a request.

    Attributes:
        request: the request.
        seconds: how long it took; of a GET, until its last chunk was taken.
        records: records that were received, or handed over to be sent.
        bytes: their bytes, as the protocol has them.
        complete: whether it came to its end: a GET may be left early.
        acq: of a PUT or PUTA the acqs that were given, of a GET or GETACQ the acq below which nothing changes; None when it
            is not known.
        error: why it failed; None when it did not.
    """

    request: Request
    seconds: float = 0.0
    records: int = 0
    bytes: int = 0
    complete: bool = False
    acq: AcqInterval | int | None = None
    error: BaseException | None = None


OnRequest: TypeAlias = Callable[[Request], object]
OnResponse: TypeAlias = Callable[[Response], object]


class Hooks(Protocol):
    """What is told of requests. One whose `on_request` raises is not told of the response."""

    def on_request(self, request: Request) -> object:
        """A request is about to be sent."""
        ...

    def on_response(self, response: Response) -> object:
        """A request came to its end, or failed, or was left."""
        ...


class _Counted(Sequence[Batch]):
    """The batches of a put, counted as they are taken."""

    def __init__(self, batches: Sequence[Batch], response: Response) -> None:
        self._batches = batches
        self._response = response

    @overload
    def __getitem__(self, at: int) -> Batch: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Batch]: ...

    def __getitem__(self, at: int | slice) -> Batch | Sequence[Batch]:
        found = self._batches[at]
        self._count([found] if isinstance(found, Batch) else found)
        return found

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            self._count([batch])
            yield batch

    def __len__(self) -> int:
        return len(self._batches)

    def _count(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self._response.records += batch.count
            self._response.bytes += len(batch.records)


class _Watch:
    """Tells hooks of requests.

    Args:
        hooks: are told, in this order, and of responses in the opposite one.
        target: what the backend is called.
    """

    def __init__(self, hooks: Sequence[Hooks], target: str) -> None:
        self._hooks = hooks
        self._target = target

    @contextmanager
    def over(self, operation: Literal["GET", "GETACQ", "PUT", "PUTA"], box: KeyRange | None = None) -> Iterator[Response]:
        """Over a request; what is in its block says what became of it."""
        request = Request(operation, self._target, box)
        response = Response(request)
        told: list[Hooks] = []
        started = time.perf_counter()
        try:
            for hook in self._hooks:
                hook.on_request(request)
                told.insert(0, hook)
            started = time.perf_counter()
            yield response
        except GeneratorExit:  # left early
            raise
        except BaseException as error:
            response.error = error
            raise
        finally:
            response.seconds = time.perf_counter() - started
            for hook in told:
                self._tell(hook, response)

    @staticmethod
    def _tell(hook: Hooks, response: Response) -> None:
        try:
            hook.on_response(response)
        except Exception:  # noqa: BLE001 - the request's outcome stands
            _log.exception("on_response failed for a %s of %s", response.request.operation, response.request.target)

    @staticmethod
    def count(response: Response, chunk: Chunk) -> None:
        """A chunk was received."""
        response.records += len(chunk)
        response.bytes += chunk.nbytes


class CallableHooks(msgspec.Struct, frozen=True, eq=False):
    """Hooks of functions."""

    request: OnRequest | None = None
    response: OnResponse | None = None

    def on_request(self, request: Request) -> None:
        """See `Hooks`."""
        if self.request is not None:
            self.request(request)

    def on_response(self, response: Response) -> None:
        """See `Hooks`."""
        if self.response is not None:
            self.response(response)


class Observed:
    """A backend whose requests are told to hooks; see `Backend`.

    Args:
        backend: the backend.
        hooks: what is told.
        target: what the backend is called.
    """

    def __init__(self, backend: Backend, hooks: Sequence[Hooks], target: str) -> None:
        self._backend = backend
        self._watch = _Watch(hooks, target)

    @property
    def spare(self) -> Spare:
        """See `Backend`."""
        return self._backend.spare

    def scan(self, box: KeyRange) -> Scan:
        """See `Backend.scan`."""
        scan = self._backend.scan(box)
        return Scan(self._chunks(scan, box))

    def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `Backend.append`."""
        with self._watch.over("PUTA" if with_acq else "PUT") as response:
            response.acq = acq = self._backend.append(
                _Counted(batches, response), with_acq=with_acq, unless_stored=unless_stored
            )
            response.complete = True
        return acq

    def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`."""
        with self._watch.over("GETACQ", box) as response:
            response.acq = acq = self._backend.last_acq(box)
            response.complete = True
        return acq

    def removals(self, since: int = 0) -> list[Removal]:
        """See `Remover.removals`; none where the backend cannot remove."""
        removals = getattr(self._backend, "removals", None)
        return [] if removals is None else list(removals(since))

    def close(self) -> None:
        """See `Backend.close`."""
        self._backend.close()

    def _chunks(self, scan: Scan, box: KeyRange) -> Generator[Chunk, None, int]:
        with self._watch.over("GET", box) as response, scan:
            for chunk in scan:
                self._watch.count(response, chunk)
                yield chunk
            response.acq = acq = scan.acq
            response.complete = True
        return acq


class AsyncObserved:
    """As `Observed`; hooks are plain functions here too, and must not block."""

    def __init__(self, backend: AsyncBackend, hooks: Sequence[Hooks], target: str) -> None:
        self._backend = backend
        self._watch = _Watch(hooks, target)

    @property
    def spare(self) -> Spare:
        """See `Backend`."""
        return self._backend.spare

    def scan(self, box: KeyRange) -> AsyncScan:
        """See `Backend.scan`."""
        return AsyncScan(self._chunks(box))

    async def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `Backend.append`."""
        with self._watch.over("PUTA" if with_acq else "PUT") as response:
            response.acq = acq = await self._backend.append(
                _Counted(batches, response), with_acq=with_acq, unless_stored=unless_stored
            )
            response.complete = True
        return acq

    async def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`."""
        with self._watch.over("GETACQ", box) as response:
            response.acq = acq = await self._backend.last_acq(box)
            response.complete = True
        return acq

    async def removals(self, since: int = 0) -> list[Removal]:
        """See `Observed.removals`."""
        removals = getattr(self._backend, "removals", None)
        return [] if removals is None else list(await removals(since))

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._backend.close()

    async def _chunks(self, box: KeyRange) -> AsyncGenerator[Chunk | int, None]:
        with self._watch.over("GET", box) as response:
            async with self._backend.scan(box) as scan:
                async for chunk in scan:
                    self._watch.count(response, chunk)
                    yield chunk
                response.acq = scan.acq
                response.complete = True
        yield scan.acq


_SYSTEM = "tstorage"


class OpenTelemetry:
    """Hooks that make a client span of each request, and count: give it to `connect(..., telemetry=...)`.

    Args:
        tracer_provider: makes spans; None for the global one.
        meter_provider: makes metrics; None for the global one.

    Raises:
        MissingLibraryError: when opentelemetry-api is not installed.
    """

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        self._trace = library("opentelemetry.trace", "telemetry")
        metrics = library("opentelemetry.metrics", "telemetry")
        self._tracer = self._trace.get_tracer("tsmodel", tracer_provider=tracer_provider)
        meter = metrics.get_meter("tsmodel", meter_provider=meter_provider)
        self._duration = meter.create_histogram("db.client.operation.duration", "s", "Duration of requests")
        self._records = meter.create_counter("tsmodel.client.records", "{record}", "Records received and sent")
        self._bytes = meter.create_counter("tsmodel.client.bytes", "By", "Bytes of these records")

    def on_request(self, request: Request) -> None:
        """Begins a span, below the current one."""
        kind = self._trace.SpanKind.CLIENT
        request.notes["span"] = self._tracer.start_span(request.operation, kind=kind, attributes=_attributes(request))

    def on_response(self, response: Response) -> None:
        """Ends it, and counts."""
        request = response.request
        attributes = _attributes(request)
        span = request.notes.pop("span")
        if response.error is not None:
            error_type = type(response.error).__qualname__
            attributes["error.type"] = error_type
            span.set_attribute("error.type", error_type)
            span.record_exception(response.error)
            span.set_status(self._trace.StatusCode.ERROR, str(response.error))
        span.set_attribute("tsmodel.records", response.records)
        span.set_attribute("tsmodel.bytes", response.bytes)
        span.set_attribute("tsmodel.complete", response.complete)
        span.end()
        self._duration.record(response.seconds, attributes)
        self._records.add(response.records, attributes)
        self._bytes.add(response.bytes, attributes)


def _attributes(request: Request) -> dict[str, str]:
    # Without the options behind the "?": they name files of certificates.
    namespace = request.target.partition("?")[0]
    return {"db.system.name": _SYSTEM, "db.operation.name": request.operation, "db.namespace": namespace}

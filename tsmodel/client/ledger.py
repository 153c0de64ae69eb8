"""The decisions of a connection pool: which connection an operation gets. No sockets, no waiting.

Rules kept here:

* Operations are spread: each goes to the connector with the fewest under way, and connectors take turns.
* A connector that could not be reached is left alone for a while that doubles with each failure, and is drawn at random.
* A connection at rest is looked at before it is used again, and is not used when it has rested for long: what stands
  between may have forgotten it.
* There are never more connections than the pool may have; who finds none free waits, but not for ever.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import attrs

from tsmodel.errors import PoolTimeoutError, SessionError, TransportError

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Address", "Check", "Dial", "Discard", "Lease", "Ledger", "PoolOptions", "Wait"]

C = TypeVar("C")

_log = logging.getLogger("tsmodel.client")

_FIRST_BACKOFF: Final = 0.05
_LONGEST_BACKOFF: Final = 5.0
_LONGEST_REST: Final = 300.0


@attrs.frozen
class Address:
    """Where a connector listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen(kw_only=True)
class PoolOptions:
    """How to reach a server.

    Attributes:
        addresses: its connectors; any of them serves everything.
        timeout: seconds that connecting and each wait for bytes may take; None for no limit.
        ssl_context: for TLS; None for plain TCP.
        size: most connections at once.
        wait: seconds that an operation waits for a connection to become free, or for a connector that is left alone.
    """

    addresses: tuple[Address, ...]
    timeout: float | None = None
    ssl_context: SSLContext | None = None
    size: int = 16
    wait: float = 30.0

    def __str__(self) -> str:
        return ",".join(map(str, self.addresses))


@attrs.frozen(eq=False)
class Lease(Generic[C]):
    """A connection that is in use."""

    connection: C
    address: Address


@attrs.frozen
class Dial:
    """Asks for a new connection; a TransportError may be thrown in."""

    address: Address


@attrs.frozen(eq=False)
class Check(Generic[C]):
    """Asks whether a connection at rest is still there."""

    connection: C


@attrs.frozen(eq=False)
class Discard(Generic[C]):
    """Asks to close a connection."""

    connection: C


@attrs.frozen
class Wait:
    """Asks to wait: until the ledger changes, but at most some seconds."""

    seconds: float


@attrs.define(eq=False)
class _Connector(Generic[C]):
    address: Address
    busy: int = 0
    resting: list[tuple[C, float]] = attrs.field(factory=list)
    failures: int = 0
    not_before: float = 0.0
    turn: int = 0


if TYPE_CHECKING:
    Steps: TypeAlias = Generator[Dial | Check[C] | Discard[C] | Wait, Any, Lease[C]]
else:
    Steps = Generator


class Ledger(Generic[C]):
    """Who has which connection. All calls, and each resumption of `lease`, must exclude one another.

    Args:
        options: how many there may be, and where to.
        clock: monotonic seconds.
    """

    def __init__(self, options: PoolOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._connectors: dict[Address, _Connector[C]] = {each: _Connector(each) for each in options.addresses}
        self._turn = 0
        self.closed = False

    def anew(self) -> Ledger[C]:
        """A ledger of the same pool that knows of no connection."""
        other: Ledger[C] = Ledger(self._options, self._clock)
        other.closed = self.closed
        return other

    def lease(self) -> Steps[C]:
        """Comes by a connection.

        Raises:
            TransportError: when no connector can be reached.
            PoolTimeoutError: when no connection became free in time.
            SessionError: when the pool is closed.
        """
        until = self._clock() + self._options.wait
        failures: dict[Address, TransportError] = {}
        while True:
            if self.closed:
                raise SessionError(f"the connection to {self._options} is closed")
            found = self._next()
            if not isinstance(found, (tuple, _Connector)):
                left = until - self._clock()
                if left <= 0:
                    raise self._late(failures)
                yield Wait(min(found, left))
            elif isinstance(found, tuple):
                connector, connection, since = found
                try:
                    fresh = self._clock() - since < _LONGEST_REST and (yield Check(connection))
                    if not fresh:
                        yield Discard(connection)
                except BaseException:
                    connector.busy -= 1
                    raise
                if fresh:
                    return Lease(connection, connector.address)
                connector.busy -= 1
            else:
                try:
                    dialed = yield Dial(found.address)
                except TransportError as error:
                    found.busy -= 1
                    self._failed(found, error)
                    failures[found.address] = error
                    if len(failures) == len(self._connectors):
                        raise self._unreachable(error) from error.__cause__
                    self._try_others(failures)
                except BaseException:
                    found.busy -= 1
                    raise
                else:
                    found.failures, found.not_before = 0, 0.0
                    return Lease(dialed, found.address)

    def give_back(self, lease: Lease[C], *, usable: bool) -> list[C]:
        """A connection is not in use any more; returns those that are to be closed."""
        connector = self._connectors[lease.address]
        connector.busy -= 1
        if self.closed or not usable:
            return [lease.connection]
        connector.resting.append((lease.connection, self._clock()))
        return []

    def close(self) -> list[C]:
        """No connection is given any more; returns those that are to be closed."""
        self.closed = True
        resting = [connection for each in self._connectors.values() for connection, _ in each.resting]
        for each in self._connectors.values():
            each.resting.clear()
        return resting

    def _next(self) -> tuple[_Connector[C], C, float] | _Connector[C] | float:
        """A connection at rest, a connector to dial, or how long to wait. The first two count as busy."""
        now = self._clock()
        total = sum(each.busy + len(each.resting) for each in self._connectors.values())
        for each in sorted(self._connectors.values(), key=lambda each: (each.busy, each.turn)):
            if each.resting or (each.not_before <= now and total < self._options.size):
                self._turn += 1
                each.turn = self._turn
                each.busy += 1
                return (each, *each.resting.pop()) if each.resting else each
        waiting = [each.not_before - now for each in self._connectors.values() if each.not_before > now]
        return float(min(waiting, default=float("inf"))) if total < self._options.size else float("inf")

    def _failed(self, connector: _Connector[C], error: TransportError) -> None:
        greatest = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(connector.failures, 32))
        connector.failures += 1
        pause = random.uniform(greatest / 2, greatest)  # noqa: S311 - spreads clients
        connector.not_before = self._clock() + pause
        _log.warning("%s is left alone for %.3g s: %s", connector.address, pause, error)

    def _try_others(self, failures: dict[Address, TransportError]) -> None:
        """One failed: those that were left alone are tried after all before an operation gives up."""
        others = [each for address, each in self._connectors.items() if address not in failures]
        if all(each.not_before > self._clock() for each in others):
            for each in others:
                each.not_before = 0.0

    def _unreachable(self, last: TransportError) -> TransportError:
        if len(self._connectors) == 1:
            return last
        return TransportError(f"none of the {len(self._connectors)} connectors {self._options} can be reached: {last}")

    def _late(self, failures: dict[Address, TransportError]) -> PoolTimeoutError:
        busy = sum(each.busy for each in self._connectors.values())
        said = "; ".join(map(str, failures.values()))
        return PoolTimeoutError(
            f"no connection to {self._options} became free in {self._options.wait:g} s: {busy} of {self._options.size} are "
            f"in use{'; ' + said if said else ''}. Finish or close iterations that are under way, or allow more by pool=",
            busy=busy,
            size=self._options.size,
        )

"""A pool of connections, as work: it chooses the connection of each operation and uses no sockets.

Rules kept here:

* Load balancing: an operation goes to the connector with the fewest operations in progress; connectors take turns.
* A connector that could not be reached is not retried for a random time, which doubles with each failure.
* An idle connection is checked before it is reused, and is discarded after a long idle time, because a firewall may have
  dropped it.
* There are never more connections than the pool allows. If none is free, an operation waits, with a timeout.
* A pool is thread-safe. A forked process starts with an empty pool; its copies of open connections close themselves.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs
import msgspec

from tsmodel.errors import PoolTimeoutError, SessionError, TransportError
from tsmodel.forking import in_child
from tsmodel.io.effects import Dial, Wait, Work

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Address", "Lease", "PoolOptions", "PoolState"]

C = TypeVar("C", bound=Any)
R = TypeVar("R")

_log = logging.getLogger("tsmodel.client")

_FIRST_BACKOFF: Final = 0.05
_LONGEST_BACKOFF: Final = 5.0
_LONGEST_REST: Final = 300.0


class Address(msgspec.Struct, frozen=True):
    """The address of a connector."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen(kw_only=True)
class PoolOptions:
    """How to reach a server.

    Attributes:
        addresses: its connectors; each of them serves all data.
        timeout: seconds that connecting and each wait for bytes may take; None for no limit.
        ssl_context: for TLS; None for plain TCP.
        size: most connections at once.
        wait: seconds that an operation waits for a free connection, or for a connector to become available again.
        resets: whether a connection that ends in the middle of a request is reset, even if the process is killed. Then no
            part of the request arrives later.
    """

    addresses: tuple[Address, ...]
    timeout: float | None = None
    ssl_context: SSLContext | None = None
    size: int = 16
    wait: float = 30.0
    resets: bool = False

    def __str__(self) -> str:
        return ",".join(map(str, self.addresses))


class Lease(msgspec.Struct, Generic[C], eq=False):
    """A connection that is in use."""

    connection: C
    address: Address


class _Connector(msgspec.Struct, Generic[C], eq=False):
    address: Address
    busy: int = 0
    resting: list[tuple[C, float]] = msgspec.field(default_factory=list)
    failures: int = 0
    not_before: float = 0.0
    turn: int = 0


class PoolState(Generic[C]):
    """The state of a pool: its idle connections, and the number in use.

    Args:
        options: its size and connectors.
        clock: returns monotonic seconds.
    """

    def __init__(self, options: PoolOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._is_closed = False
        self._begin()
        in_child(self._begin)

    def connected(self, work: Callable[[C], Work[R]]) -> Work[R]:
        """Runs work with a connection of its own. Raises the errors of `lease`."""
        connectors = self._connectors
        lease = yield from self.lease()
        try:
            return (yield from work(lease.connection))
        finally:
            if connectors is not self._connectors:  # the process has been forked since
                lease.connection.close()
            else:
                self.give_back(lease, usable=lease.connection.open)

    def lease(self) -> Work[Lease[C]]:
        """Gets a connection.

        Raises:
            TransportError: if no connector can be reached.
            PoolTimeoutError: if no connection becomes free in time.
            SessionError: if the pool is closed.
        """
        try:
            return (yield from self._leased())
        finally:
            self._tell()  # a connection that was reserved but not taken is free for others

    def give_back(self, lease: Lease[C], *, usable: bool) -> None:
        """Returns a connection to the pool, which closes it if it cannot be used again."""
        with self._lock:
            connector = self._connectors[lease.address]
            connector.busy -= 1
            rests = usable and not self._is_closed
            if rests:
                connector.resting.append((lease.connection, self._clock()))
        self._tell()
        if not rests:
            lease.connection.close()

    def close(self) -> None:
        """Closes idle connections; others are closed when they are given back."""
        with self._lock:
            self._is_closed = True
            resting = [connection for each in self._connectors.values() for connection, _ in each.resting]
            for each in self._connectors.values():
                each.resting.clear()
        self._tell(everybody=True)
        for connection in resting:
            connection.close()

    def _begin(self) -> None:
        """Starts without connections."""
        self._connectors: dict[Address, _Connector[C]] = {each: _Connector(each) for each in self._options.addresses}
        self._turn = self._changes = 0
        self._waiting: list[Callable[[], object]] = []
        self._lock = threading.RLock()  # garbage collection of a generator may give its connection back at any time

    def _leased(self) -> Work[Lease[C]]:
        until = self._clock() + self._options.wait
        failures: dict[Address, TransportError] = {}
        while True:
            with self._lock:
                if self._is_closed:
                    raise SessionError(f"the connection to {self._options} is closed")
                found, seen = self._next(), self._changes
            if not isinstance(found, (tuple, _Connector)):
                left = until - self._clock()
                if left <= 0:
                    raise self._late(failures)
                yield Wait(min(found, left), partial(self._told, seen))
            elif isinstance(found, tuple):
                connector, connection, since = found
                is_usable = False
                try:
                    is_usable = self._clock() - since < _LONGEST_REST and connection.is_usable()
                finally:
                    if not is_usable:
                        self._not_taken(connector)
                        connection.close()
                if is_usable:
                    return Lease(connection, connector.address)
            else:
                try:
                    dialed = yield Dial(found.address, self._options)
                except TransportError as error:
                    self._not_taken(found)
                    failures[found.address] = error
                    with self._lock:
                        self._failed(found, error)
                        if len(failures) == len(self._connectors):
                            raise self._unreachable(error) from error.__cause__
                        self._try_others(failures)
                except BaseException:
                    self._not_taken(found)
                    raise
                else:
                    with self._lock:
                        found.failures, found.not_before = 0, 0.0
                    return Lease(dialed, found.address)

    def _not_taken(self, connector: _Connector[C]) -> None:
        with self._lock:
            connector.busy -= 1

    @contextmanager
    def _told(self, seen: int, wake: Callable[[], object]) -> Iterator[None]:
        """Calls `wake` after a change later than number `seen`."""
        with self._lock:
            if self._changes != seen:
                wake()
            self._waiting.append(wake)
        try:
            yield
        finally:
            with self._lock:
                if wake in self._waiting:
                    self._waiting.remove(wake)

    def _tell(self, *, everybody: bool = False) -> None:
        """Notes a change; wakes the operation that has waited longest, or all."""
        with self._lock:
            self._changes += 1
            told = self._waiting if everybody else self._waiting[:1]
            self._waiting = [] if everybody else self._waiting[1:]
            for wake in told:
                wake()

    def _next(self) -> tuple[_Connector[C], C, float] | _Connector[C] | float:
        """An idle connection, a connector to dial, or the seconds to wait. Counts the first two as busy."""
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
        # An only connector's error reaches the caller; others take over in silence.
        level = logging.WARNING if len(self._connectors) > 1 else logging.INFO
        _log.log(level, "%s is not retried for %.3g s: %s", connector.address, pause, error)

    def _try_others(self, failures: dict[Address, TransportError]) -> None:
        """Makes connectors that are waiting for a retry available at once, before an operation gives up."""
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
            f"in use{'; ' + said if said else ''}. Finish or close open iterations, or allow more connections with pool=",
            busy=busy,
            size=self._options.size,
        )

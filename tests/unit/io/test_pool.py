"""The pool's decisions, without sockets: connections stay limited, none is lost or shared, and all connectors are used."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from tsmodel.errors import PoolTimeoutError, SessionError, TransportError
from tsmodel.io.effects import Dial, Wait
from tsmodel.io.pool import Address, Lease, PoolOptions, PoolState

A, B, C = Address("a", 1), Address("b", 2), Address("::1", 3)


class Connection(str):
    """A connection, identified by its name."""

    __slots__ = ("world",)
    world: World

    def is_usable(self) -> bool:
        return self not in self.world.broken

    def close(self) -> None:
        self.world.discarded.append(self)


class World:
    """A clock, and connectors that can be down."""

    def __init__(self, *addresses: Address, size: int = 4, wait: float = 30.0) -> None:
        self.now = 0.0
        self.down: set[Address] = set()
        self.broken: set[str] = set()
        self.dialed: list[Address] = []
        self.discarded: list[str] = []
        self.pool: PoolState[Connection] = PoolState(
            PoolOptions(addresses=addresses, size=size, wait=wait), lambda: self.now
        )

    def lease(self) -> Lease[Connection]:
        """Leases a connection, advancing the clock while it waits."""
        steps = self.pool.lease()
        try:
            step = next(steps)
            while True:
                step = self.carried_out(steps, step)
        except StopIteration as end:
            lease: Lease[Connection] = end.value
            return lease

    def carried_out(self, steps: Generator[Any, Any, Any], step: object) -> Any:
        if isinstance(step, Dial):
            self.dialed.append(step.address)
            if step.address in self.down:
                return steps.throw(TransportError(f"connecting to {step.address} failed"))
            connection = Connection(f"{step.address}#{len(self.dialed)}")
            connection.world = self
            return steps.send(connection)
        assert isinstance(step, Wait)
        self.now += min(step.seconds, 1000.0)
        return steps.send(None)


def test_connectors_take_turns_and_connections_are_reused() -> None:
    world = World(A, B)
    for _ in range(6):
        world.pool.give_back(world.lease(), usable=True)
    assert world.dialed == [A, B]
    leases = [world.lease() for _ in range(4)]
    assert sorted(str(lease.address) for lease in leases) == ["a:1", "a:1", "b:2", "b:2"]


def test_connection_that_broke_while_idle_is_not_reused() -> None:
    world = World(A)
    first = world.lease()
    world.pool.give_back(first, usable=True)
    world.broken.add(first.connection)
    assert world.lease().connection != first.connection
    assert world.discarded == [first.connection]


def test_connection_that_was_idle_for_long_is_not_reused() -> None:
    world = World(A)
    first = world.lease()
    world.pool.give_back(first, usable=True)
    world.now += 1000
    assert world.lease().connection != first.connection


def test_unusable_connection_is_dropped() -> None:
    world = World(A, size=1)
    first = world.lease()
    world.pool.give_back(first, usable=False)
    assert world.discarded == [first.connection]
    assert world.lease().connection != first.connection


def test_next_connector_replaces_one_that_is_down() -> None:
    world = World(A, B)
    world.down.add(A)
    assert [world.lease().address for _ in range(3)] == [B, B, B]
    assert world.dialed.count(A) == 1
    world.down.clear()
    world.now += 100
    assert world.lease().address == A


def test_single_connector_raises_its_own_error() -> None:
    world = World(C)
    world.down.add(C)
    with pytest.raises(TransportError, match=r"^connecting to \[::1\]:3 failed$"):
        world.lease()


def test_error_when_no_connector_can_be_reached() -> None:
    world = World(A, B)
    world.down |= {A, B}
    with pytest.raises(TransportError, match=r"none of the 2 connectors a:1,b:2 can be reached: connecting to"):
        world.lease()
    assert sorted(map(str, world.dialed)) == ["a:1", "b:2"]


def test_pauses_grow_and_end() -> None:
    world = World(A)
    world.down.add(A)
    pauses = []
    for _ in range(14):
        before = world.now
        with pytest.raises(TransportError):
            world.lease()
        pauses.append(world.now - before)
    assert pauses[0] == 0
    for number, pause in enumerate(pauses[1:]):
        greatest = min(5.0, 0.05 * 2**number)
        assert greatest / 2 <= pause <= greatest
    assert len(set(pauses)) == len(pauses)
    world.down.clear()
    world.pool.give_back(world.lease(), usable=False)
    before = world.now
    world.lease()
    assert world.now == before


def test_wait_for_a_connection_times_out() -> None:
    world = World(A, size=2, wait=5)
    world.lease()
    lease = world.lease()
    steps = world.pool.lease()
    waiting = next(steps)
    assert isinstance(waiting, Wait)
    assert waiting.seconds == 5.0
    world.now += 5
    with pytest.raises(PoolTimeoutError, match=r"to a:1 became free in 5 s: 2 of 2 are in use\. Finish or close") as caught:
        steps.send(None)
    assert (caught.value.busy, caught.value.size) == (2, 2)
    waiting = world.pool.lease()
    next(waiting)
    world.pool.give_back(lease, usable=True)
    with pytest.raises(StopIteration) as ended:
        waiting.send(None)
    assert ended.value.value.connection == lease.connection


def test_closed_pool_refuses_leases() -> None:
    world = World(A, size=2)
    busy, resting = world.lease(), world.lease()
    world.pool.give_back(resting, usable=True)
    world.pool.close()
    assert world.discarded == [resting.connection]
    world.pool.give_back(busy, usable=True)
    assert world.discarded == [resting.connection, busy.connection]
    with pytest.raises(SessionError, match="the connection to a:1 is closed"):
        world.lease()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError, GeneratorExit])
def test_interrupted_lease_frees_its_place(kind: type[BaseException]) -> None:
    world = World(A, size=1, wait=1)
    steps = world.pool.lease()
    next(steps)
    with pytest.raises(kind):
        steps.throw(kind())
    assert world.lease()


class Pools(RuleBasedStateMachine):
    """Any sequence of events."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.world = World(A, B, C, size=3, wait=60)
        self.used: dict[str, Lease[Connection]] = {}

    @rule(target=leases)
    def lease(self) -> Any:
        try:
            lease = self.world.lease()
        except PoolTimeoutError:
            assert len(self.used) == 3
            return multiple()
        except TransportError:
            assert len(self.world.down) == 3
            return multiple()
        assert lease.connection not in self.used
        assert lease.connection not in self.world.broken
        assert lease.connection not in self.world.discarded
        self.used[lease.connection] = lease
        return lease

    @rule(lease=consumes(leases), usable=st.booleans())
    def give_back(self, lease: Lease[Connection], usable: bool) -> None:
        del self.used[lease.connection]
        self.world.pool.give_back(lease, usable=usable)

    @rule(address=st.sampled_from([A, B, C]))
    def toggle(self, address: Address) -> None:
        self.world.down ^= {address}
        self.world.broken |= {f"{address}#{n}" for n in range(len(self.world.dialed) + 1)} - set(self.used)

    @rule(seconds=st.sampled_from([0.01, 1.0, 400.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.now += seconds

    @invariant()
    def never_too_many(self) -> None:
        connectors = self.world.pool._connectors.values()
        assert sum(each.busy for each in connectors) == len(self.used)
        assert sum(each.busy + len(each.resting) for each in connectors) <= 3


TestPools = Pools.TestCase

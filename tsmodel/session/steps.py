"""What the work of a session asks of its backend, and what carries it out: to block, and to await.

Rules kept here:

* The work is a generator that yields steps. A pump carries each out, and sends its result back, or throws what it raised,
  cancellation and Ctrl-C included: so the account of what is stored is kept in one place.
* A backend asks for the batches of a put as it sends them: a put of which it asked for nothing has not left.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

import attrs

from tsmodel.backend import AsyncBackend, Backend, Batch
from tsmodel.query.steps import LastAcq, Look, Pause, Removals, carried_out, carried_out_async
from tsmodel.wire.unstored import Unstored

__all__ = ["Append", "LastAcq", "Look", "Pause", "Sent", "Steps", "run", "run_async"]

R = TypeVar("R")


class Sent(Sequence[Batch]):
    """The batches of a put; knows whether anybody asked for them."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self.asked = False

    @overload
    def __getitem__(self, at: int) -> Batch: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Batch]: ...

    def __getitem__(self, at: int | slice) -> Batch | Sequence[Batch]:
        self.asked = True
        return self._batches[at]

    def __iter__(self) -> Iterator[Batch]:
        self.asked = True
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


@attrs.frozen(eq=False)
class Append:
    """Asks to store batches, or what is new of them; the answer is the AcqInterval of what was stored."""

    batches: Sent
    with_acq: bool
    unless_stored: Unstored | None = None

    @property
    def named(self) -> dict[str, Any]:
        """The arguments by name."""
        return {"with_acq": self.with_acq, **({} if self.unless_stored is None else {"unless_stored": self.unless_stored})}


if TYPE_CHECKING:
    Steps: TypeAlias = Generator[Append | LastAcq | Look | Pause | Removals, Any, R]
else:
    Steps = Generator


def run(steps: Steps[R], backend: Callable[[], Backend], lock: AbstractContextManager[object]) -> R:
    """Carries out steps and returns what they come to.

    Args:
        steps: the work.
        backend: gives the backend, or raises.
        lock: held while the generator runs, not while it waits.
    """
    answer: object = None
    failure: BaseException | None = None
    while True:
        with lock:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as end:
                result: R = end.value
                return result
        answer = failure = None
        try:
            if isinstance(step, Append):
                answer = backend().append(step.batches, **step.named)
            else:
                answer = carried_out(step, backend)
        except BaseException as error:  # noqa: BLE001 - the generator is told, and raises it or what it makes of it
            failure = error


async def run_async(steps: Steps[R], backend: Callable[[], AsyncBackend]) -> R:
    """As `run`, awaiting."""
    answer: object = None
    failure: BaseException | None = None
    while True:
        try:
            step = steps.send(answer) if failure is None else steps.throw(failure)
        except StopIteration as end:
            result: R = end.value
            return result
        answer = failure = None
        try:
            if isinstance(step, Append):
                answer = await backend().append(step.batches, **step.named)
            else:
                answer = await carried_out_async(step, backend)
        except BaseException as error:  # noqa: BLE001 - as in `run`
            failure = error

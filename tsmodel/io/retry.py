"""`Retry`: what is tried again after a failure, how often, and with which pauses.

Rules kept here:

* Only failures that may pass are tried again: a connection that could not be made or was lost, and a server that says that
  it cannot just now. Bad input and refusals never are.
* Pauses double and are drawn at random, so that many clients of a server that comes back do not arrive together.
* Whether it is *safe* to try again is not decided here: reads before they have handed anything over are; what becomes of
  a put without an answer, `on_unknown` says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast, get_args

import attrs

from tsmodel.errors import RemoteProtocolError, ServerError, SessionError, TimestampError, TransportError
from tsmodel.io.effects import Pause, Work
from tsmodel.timestamps import DurationLike, duration_ns
from tsmodel.wire.events import Status

__all__ = ["ONCE", "Attempts", "OnUnknown", "Retry", "again", "may_pass", "seconds_of"]

R = TypeVar("R")

OnUnknown: TypeAlias = Literal["raise", "check", "duplicate"]
"""What becomes of a put that was sent and never answered for; see `Retry`."""

_TEMPORARY: Final = frozenset({Status.RETRY, Status.TIMEOUT, Status.INACTIVE})


def seconds_of(value: DurationLike, name: str) -> float:
    """A duration of an option, in seconds.

    Raises:
        SessionError: when it is none, or not above 0.
    """
    try:
        ns = duration_ns(value)
    except TimestampError as error:
        raise SessionError(f"{name}: {error}") from error
    if ns <= 0:
        raise SessionError(f"{name} is {value!r}; it must be above 0")
    return ns / 1e9


def _duration(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None or attribute.default is not None:
        seconds_of(cast("DurationLike", value), attribute.name)  # which refuses None, too


def _count(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if type(value) is not int or value < 1:
        raise SessionError(f"{attribute.name} takes an int from 1, not {value!r}")


def _known(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value not in get_args(OnUnknown):
        raise SessionError(f"{attribute.name} is one of {', '.join(map(repr, get_args(OnUnknown)))}, not {value!r}")


@attrs.frozen(kw_only=True)
class Retry:
    """A policy for trying again. Durations are text such as "250ms", a timedelta, or an int of nanoseconds.

    Attributes:
        attempts: how often something is tried, the first time included.
        first: greatest pause after the first failure; it doubles with every further one.
        most: greatest pause ever.
        within: no pause begins that would end later than this after the first attempt began; None for no limit.
        on_unknown: what becomes of a PUT that was sent and not answered for, which may be stored or not. "raise": it is
            never sent again by itself. "check": the database is asked what it stored of it, and only what is missing is
            sent again. "duplicate": it is sent again, and may then be stored twice. A PUTA names its full keys: what is
            missing of it is always sent again.
        settle: with "check", how long a put that was cut off may still be under way to the server. The question is asked
            when everything up to the failure and this much longer is committed.

    Raises:
        SessionError: for values that these cannot have.
    """

    attempts: int = attrs.field(default=5, validator=_count)
    first: DurationLike = attrs.field(default="100ms", validator=_duration)
    most: DurationLike = attrs.field(default="5s", validator=_duration)
    within: DurationLike | None = attrs.field(default=None, validator=_duration)
    on_unknown: OnUnknown = attrs.field(default="raise", validator=_known)
    settle: DurationLike = attrs.field(default="1s", validator=_duration)


ONCE: Final = Retry(attempts=1)
"""Nothing is tried again."""


def may_pass(error: BaseException) -> bool:
    """Whether a failure is of a kind that may be gone the next time."""
    if isinstance(error, ServerError):
        return error.status in _TEMPORARY
    return isinstance(error, (TransportError, RemoteProtocolError))


class Attempts:
    """The attempts at one thing.

    Args:
        retry: the policy.
    """

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._failed = 0
        self._began = time.monotonic()

    def pause(self, error: BaseException) -> float | None:
        """Seconds to wait after a failure before the next attempt; None when there is to be none."""
        from random import uniform

        self._failed += 1
        if self._failed >= self._retry.attempts or not may_pass(error):
            return None
        greatest = min(
            seconds_of(self._retry.most, "most"), seconds_of(self._retry.first, "first") * 2.0 ** min(self._failed - 1, 64)
        )
        pause = uniform(greatest / 2, greatest)  # noqa: S311 - spreads clients, keeps no secret
        within = self._retry.within
        if within is not None and time.monotonic() + pause > self._began + seconds_of(within, "within"):
            return None
        return pause


def again(
    work: Callable[[], Work[R]], retry: Retry, failed: Callable[[Exception, float | None], object] = lambda _, __: None
) -> Work[R]:
    """What `work` comes to, begun anew after failures that may pass.

    Args:
        work: begins an attempt.
        retry: the policy.
        failed: told of each failure, and of the pause before the next attempt, None when there is to be none. What it
            raises comes out, and ends the attempts.
    """
    attempts = Attempts(retry)
    while True:
        try:
            return (yield from work())
        except Exception as error:
            pause = attempts.pause(error)
            failed(error, pause)
            if pause is None:
                raise
        yield Pause(pause)

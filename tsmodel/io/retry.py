"""`Retry`: which failures are retried, how often, and with what pauses.

Rules kept here:

* Only temporary failures are retried: a connection that failed or was lost, and a server that is temporarily unable to
  answer. Bad input and refusals are never retried.
* Pauses double and are random, so that many clients of a restarted server do not arrive at the same moment.
* The caller decides whether a retry is *safe*. A read is safe until it has returned records; for a put without an answer,
  `on_unknown` decides.
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

__all__ = ["ONCE", "Attempts", "OnUnknown", "Retry", "again", "may_pass", "seconds_of", "valid_count", "valid_duration"]

R = TypeVar("R")

OnUnknown: TypeAlias = Literal["raise", "check", "duplicate"]
"""What to do about a put that was sent and never answered; see `Retry`."""

_TEMPORARY: Final = frozenset({Status.RETRY, Status.TIMEOUT, Status.INACTIVE})


def seconds_of(value: DurationLike, name: str) -> float:
    """An option's duration in seconds.

    Raises:
        SessionError: if it is not a duration above 0.
    """
    try:
        ns = duration_ns(value)
    except TimestampError as error:
        raise SessionError(f"{name}: {error}") from error
    if ns <= 0:
        raise SessionError(f"{name} is {value!r}; it must be above 0")
    return ns / 1e9


def valid_duration(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validates a field that holds a duration above 0. None is allowed as the default only, as for `valid_count`."""
    if value is not None or attribute.default is not None:
        seconds_of(cast("DurationLike", value), attribute.name)  # which refuses None, too


def valid_count(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validates a field that holds an int from 1."""
    if value is None and attribute.default is None:
        return
    if type(value) is not int or value < 1:
        raise SessionError(f"{attribute.name} takes an int from 1, not {value!r}")


def _known(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value not in get_args(OnUnknown):
        raise SessionError(f"{attribute.name} is one of {', '.join(map(repr, get_args(OnUnknown)))}, not {value!r}")


@attrs.frozen(kw_only=True)
class Retry:
    """A retry policy. Durations are text such as "250ms", a timedelta, or an int of nanoseconds.

    Attributes:
        attempts: most attempts, including the first.
        first: longest pause after the first failure; it doubles with each further failure.
        most: upper limit of all pauses.
        within: time limit since the first attempt: no pause begins that would exceed it. None for no limit.
        on_unknown: what to do about a PUT that was sent and not answered, which may be stored or not. "raise": it is never
            sent again automatically. "check": the database is asked what it stored, and only the missing records are sent
            again. "duplicate": it is sent again, and may then be stored twice. A PUTA names its full keys: its missing
            records are always sent again.
        settle: with "check", how long a put that was cut off may still be on its way to the server. The database is asked
            once everything up to this long after the failure is committed.

    Raises:
        SessionError: for invalid values.
    """

    attempts: int = attrs.field(default=5, validator=valid_count)
    first: DurationLike = attrs.field(default="100ms", validator=valid_duration)
    most: DurationLike = attrs.field(default="5s", validator=valid_duration)
    within: DurationLike | None = attrs.field(default=None, validator=valid_duration)
    on_unknown: OnUnknown = attrs.field(default="raise", validator=_known)
    settle: DurationLike = attrs.field(default="1s", validator=valid_duration)


ONCE: Final = Retry(attempts=1)
"""A policy without retries."""


def may_pass(error: BaseException) -> bool:
    """Whether a failure is temporary: the next attempt may succeed."""
    if isinstance(error, ServerError):
        return error.status in _TEMPORARY
    return isinstance(error, (TransportError, RemoteProtocolError))


class Attempts:
    """Counts the attempts of one operation.

    Args:
        retry: the policy.
    """

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._failed = 0
        self._began = time.monotonic()

    def pause(self, error: BaseException) -> float | None:
        """The seconds to wait before the next attempt; None to give up."""
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
    """Runs work, and retries it after temporary failures. Returns its result.

    Args:
        work: starts an attempt.
        retry: the policy.
        failed: called with each failure and the pause before the next attempt, None if there is none. If it raises, there
            are no further attempts.
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

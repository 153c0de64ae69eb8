"""The end of a query that follows what is new: `follow`, for both kinds of query."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tsmodel.client.retry import ONCE, seconds_of
from tsmodel.errors import QueryError
from tsmodel.keys import LIMITS
from tsmodel.model.base import TSModel
from tsmodel.model.expressions import Expression
from tsmodel.model.fingerprint import fingerprint_of
from tsmodel.model.meta import schema_of
from tsmodel.model.unions import models_of
from tsmodel.query.ends import Selection
from tsmodel.query.following import AsyncFollow, Follow, FollowPlan
from tsmodel.query.planning import Plan
from tsmodel.timestamps import DurationLike, TimeLike, to_ns

__all__ = ["AsyncFollowEnds", "FollowEnds", "identity_of"]

M = TypeVar("M", bound=TSModel)


def identity_of(model: Any, conditions: tuple[Expression, ...], source: Any) -> dict[str, str]:
    """What a checkpoint says it is of. A target's options, such as its timeout, are no part of it."""
    models = models_of(model)
    return {
        "target": str(getattr(source, "name", type(source).__name__)).partition("?")[0],
        "model": " | ".join(f"{each.__name__} {fingerprint_of(schema_of(each))}" for each in models),
        "query": " & ".join(map(str, conditions)) or "all records",
    }


class _Followed(Generic[M]):
    """What both kinds of query have in common here."""

    if TYPE_CHECKING:
        _model: type[M]
        _limit: int | None
        _conditions: tuple[Expression, ...]

        def _planned(self) -> Plan: ...
        def _plainly(self, what: str) -> None: ...
        def _selection(self, limit: int | None) -> Selection[M]: ...
        def _reading(self) -> Any: ...

    def _follow_plan(
        self,
        since: TimeLike | None,
        poll: DurationLike,
        checkpoint: str | os.PathLike[str] | None,
        every: int,
        wait: bool,
    ) -> FollowPlan:
        self._plainly("follow()")
        if self._limit is not None:
            raise QueryError("follow() gives every record: take the limit off the query, and stop iterating instead")
        whole = (LIMITS["acq"].least, LIMITS["acq"].bound)
        if any((box.min.acq, box.max.acq) != whole for box in self._planned().boxes):
            raise QueryError("follow() goes along acq itself: instead of a condition on acq, say since=...")
        if type(every) is not int or every < 1:
            raise QueryError(f"checkpoint_every takes an int from 1, not {every!r}")
        source = self._reading()
        return FollowPlan(
            boxes=self._planned().boxes,
            selection=lambda: self._selection(None),
            backend=lambda: source.backend,
            retry=getattr(source, "retries", ONCE),
            of=identity_of(self._model, self._conditions, source),
            start=None if since is None else to_ns(since),
            poll=seconds_of(poll, "poll"),
            checkpoint=checkpoint,
            every=every,
            wait=wait,
        )


class FollowEnds(_Followed[M]):
    """The end of `Query` that follows."""

    def follow(
        self,
        since: TimeLike | None = None,
        poll: DurationLike = "1s",
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        checkpoint_every: int = 1,
        wait: bool = True,
    ) -> Follow[M]:
        """Each new record of this query, once, also across restarts; by acq, and among equal ones by key.

        A record is given when it is fully committed: from then on no record appears with an acq below it. It counts as
        taken when the next one is asked for, when `commit()` is called, or when the `with` block ends well. Who is killed
        before that gets it again, and only it; with `checkpoint_every` above 1, up to so many. What raises loses nothing:
        the next call goes on where it stood.

        Args:
            since: acq to begin at, when there is no checkpoint yet; None for all records that there are.
            poll: how long to wait when there is nothing new, as "1s", a timedelta, or int ns.
            checkpoint: file that keeps where the reader stands, for one reader at a time; None keeps it in memory only.
            checkpoint_every: records between two writes of the file, each of which waits for the disk.
            wait: False ends the iteration where there is nothing new, instead of waiting for it.

        Raises:
            QueryError: when the query has a limit or conditions on acq.
            CheckpointError: when the file is of another query, model or target, or damaged.
            SessionError: when `poll` is no duration above 0.
        """
        return Follow(self._follow_plan(since, poll, checkpoint, checkpoint_every, wait))


class AsyncFollowEnds(_Followed[M]):
    """The end of `AsyncQuery` that follows."""

    def follow(
        self,
        since: TimeLike | None = None,
        poll: DurationLike = "1s",
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        checkpoint_every: int = 1,
        wait: bool = True,
    ) -> AsyncFollow[M]:
        """See `Query.follow`. The checkpoint is written without awaiting."""
        return AsyncFollow(self._follow_plan(since, poll, checkpoint, checkpoint_every, wait))

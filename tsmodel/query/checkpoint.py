"""Where a reader of new records stands, and the file that keeps it.

Rules kept here:

* The file appears whole or not at all: it is written beside its place, synced, and moved there.
* A file of another query, model or target is refused: going on from it would skip records, or give them twice.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import attrs
import msgspec

from tsmodel.errors import CheckpointError
from tsmodel.keys import LIMITS
from tsmodel.model.meta import schema_of
from tsmodel.model.model_schema import fingerprint_of
from tsmodel.model.unions import models_of
from tsmodel.query.spec import QuerySpec

__all__ = ["Checkpoint", "Position", "identity_of"]

_VERSION = 1


@attrs.frozen
class Position:
    """How far a reader came: it has all records with an acq below `acq`, and the first `taken` of those that have it, in
    the order of their keys.

    Attributes:
        acq: ns since 2001.
        taken: number of records.
    """

    acq: int
    taken: int = 0


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tsmodel_checkpoint: int
    of: dict[str, str]
    acq: int
    taken: int
    removal: int = 0


def identity_of(spec: QuerySpec[Any], source: Any) -> dict[str, str]:
    """What a checkpoint says it is of. A target's options, such as its timeout, are no part of it."""
    models = models_of(spec.model)
    return {
        "target": str(getattr(source, "name", type(source).__name__)).partition("?")[0],
        "model": " | ".join(f"{each.__name__} {fingerprint_of(schema_of(each))}" for each in models),
        "query": " & ".join(map(str, spec.all_conditions)) or "all records",
    }


class Checkpoint:
    """A file that keeps a position.

    Args:
        path: the file; its directory exists.
        of: what the position is of, such as the query and the target: a file of anything else is refused.

    Attributes:
        removal: number of the last removal that was told, which is kept with the position.
    """

    def __init__(self, path: str | os.PathLike[str], of: dict[str, str]) -> None:
        self._path = Path(path).absolute()
        self._of = of
        self.removal = 0

    def load(self) -> Position | None:
        """The position that was kept; None when there is no file.

        Raises:
            CheckpointError: when the file is of something else, is damaged, or cannot be read.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CheckpointError(f"the checkpoint {self._path} cannot be read: {error}") from error
        try:
            kept = msgspec.json.decode(content, type=_File)
        except (msgspec.DecodeError, RecursionError) as error:
            raise CheckpointError(f"{self._path} is not a checkpoint: {error}; nothing was changed") from error
        if kept.tsmodel_checkpoint != _VERSION:
            raise CheckpointError(
                f"{self._path} has version {kept.tsmodel_checkpoint}; this tsmodel knows version {_VERSION}"
            )
        for name in {**kept.of, **self._of}:
            theirs, ours = kept.of.get(name), self._of.get(name)
            if theirs != ours:
                raise CheckpointError(
                    f"the checkpoint {self._path} is of another {name}: it has {theirs!r}, this is {ours!r}; name another "
                    "file, or remove this one to begin anew"
                )
        limits = LIMITS["acq"]
        if not limits.least <= kept.acq <= limits.bound or kept.taken < 0:
            raise CheckpointError(
                f"{self._path} is damaged: no record has acq {kept.acq}, or {kept.taken} of them were taken; restore a "
                "copy, or remove the file to begin anew"
            )
        self.removal = kept.removal
        return Position(kept.acq, kept.taken)

    def save(self, position: Position) -> None:
        """Keeps a position, durably.

        Raises:
            CheckpointError: when the file cannot be written; the one that was there stays.
        """
        content = msgspec.json.encode(_File(_VERSION, self._of, position.acq, position.taken, self.removal))
        scratch = self._path.with_name(self._path.name + ".new")
        try:
            with scratch.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._path)
            _sync_directory(self._path.parent)
        except OSError as error:
            raise CheckpointError(f"the checkpoint {self._path} cannot be written: {error}") from error


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(PermissionError):  # directories cannot be opened everywhere
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

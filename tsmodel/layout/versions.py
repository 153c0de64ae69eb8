"""Row codecs for several versions of a model, and for several models.

Rules kept here:

* A chunk is split by discriminators. The codec of each model reads its own records only.
* Records of the newest version are read in place. Those of older versions become rows, are upgraded, and are encoded in the
  layout of the newest version. So everything downstream sees one layout, and a value that the newest version cannot store
  is a fault.
* An upgraded record keeps its key, whatever key the upgrade returns.
* If only key components are needed, nothing is upgraded.
* Writing always uses the newest version. Nothing is written through a union of models.
* The codec of the older version is never changed: only the newer version knows of the replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NoReturn, TypeVar

import msgspec
import numpy as np

from tsmodel.errors import SchemaError
from tsmodel.keys import KEY_FIELDS, Key
from tsmodel.layout.placing import packed
from tsmodel.layout.row_codecs import Discriminator, Fit, Mismatch, Refusal, RowCodec, split_by
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.scalars import shown
from tsmodel.wire.chunk import Batch, Chunk, RowChunk, joined, keys_of, parsed
from tsmodel.wire.records import GET_FORM

__all__ = ["EvolvingRowCodec", "UnionRecords", "UnionRowCodec", "UpgradeFault", "labelled"]


RowT = TypeVar("RowT")

_UNSET: Final = Key(-1, -1, -1, -1, -1)
_NONE: Final = parsed(memoryview(b""))


class UpgradeFault(Refusal):
    """A record of an older version could not be upgraded. The upgrade is at fault, not the stored bytes.

    Attributes:
        old: name of the older version.
        new: name of the newer version.
    """

    def __init__(self, why: str, old: str = "", new: str = "") -> None:
        super().__init__(why)
        self.old = old
        self.new = new


class EvolvingRowCodec(RowCodec[RowT]):
    """See `RowCodec`.

    Args:
        own: the codec of the newest version, with its discriminator.
        old: the codec of the version that it replaces, which may itself be evolving, with its discriminators.
        kind: class of the newest version, which upgrades return.

    Attributes:
        upgrade: converts a row of `old` to one of the newest version; None until it is defined.
    """

    def __init__(self, own: RowCodec[RowT], old: RowCodec[Any], kind: type[RowT]) -> None:
        self._own = own
        self._old = old
        self._kind = kind
        super().__init__(own.layout, own.make, own.fixed, own.tuples, own.constraints)  # `own` and `old` read strictly
        self.upgrade: Callable[[Any], RowT] | None = None
        (discriminator,) = own.discriminators
        self._groups = (before(old.discriminators, discriminator.since), own.discriminators)
        self.discriminators = (*self._groups[0], discriminator)
        self.caps = own.caps

    def _fit(self, chunk: Chunk) -> Fit:
        (old, own), mismatches = self._sorted(chunk)
        if len(old):
            found = self._old.fit(old)
            mismatches += labelled(found.mismatches, self._old_name)
            upgraded, unable = self._upgraded(found.records)
            mismatches += unable
            own = upgraded if not len(own) else joined([upgraded, own])
        found = self._own.fit(own)
        return Fit(found.records, (*mismatches, *found.mismatches))

    def fit_keys(self, chunk: Chunk) -> Fit:
        """See `RowCodec.fit_keys`; the records have key components only, unless all are of the newest version."""
        (old, own), mismatches = self._sorted(chunk)
        if not len(old):
            found = self._own.fit_keys(own)
            return Fit(found.records, (*mismatches, *found.mismatches))
        fits = [self._old.fit_keys(old), self._own.fit_keys(own)]
        mismatches += (*labelled(fits[0].mismatches, self._old_name), *fits[1].mismatches)
        return Fit(np.concatenate([keys_of(each.records) for each in fits]), mismatches)

    def rows(self, records: Any) -> Iterator[RowT]:
        return self._own.rows(records)

    def encode(self, rows: Sequence[RowT], *, with_acq: bool = False, first: int = 0) -> list[Batch]:
        return self._own.encode(rows, with_acq=with_acq, first=first)

    def chunk_of(self, rows: Sequence[RowT], keys: Any) -> Chunk:
        return self._own.chunk_of(rows, keys)

    def payload_of(self, row: RowT) -> bytes:
        return self._own.payload_of(row)

    def row_of(self, key: Key, payload: bytes) -> RowT:
        """See `RowCodec.row_of`; of a payload of any version."""
        return next(self.rows(self._single(key, payload)))

    def values_of(self, payload: bytes) -> tuple[Any, ...]:
        """See `RowCodec.values_of`; of a payload of any version.

        Raises:
            FieldFault: also if only the key of the record tells the version.
        """
        if any(each.since is not None or each.until is not None for each in self.discriminators):
            raise Refusal(f"the capture time distinguishes versions of {self._name}, and a payload has none")
        (raw,) = self._own.payloads(self._single(_UNSET, payload))
        return self._own.values_of(raw)

    @property
    def writing(self) -> RowCodec[RowT]:
        return self._own.writing

    def payloads(self, records: Any) -> Iterable[bytes]:
        return self._own.payloads(records)

    @property
    def _name(self) -> str:
        return self._kind.__name__

    @property
    def _old_name(self) -> str:
        return self._groups[0][-1].model

    def _sorted(self, chunk: Chunk) -> tuple[list[Chunk], tuple[Mismatch, ...]]:
        if self.upgrade is None:
            raise SchemaError(
                f"{self._name} replaces {self._old_name}, but nothing says how: write a function under "
                f"@{self._name}.upgrade_from({self._old_name}) that makes one of the other",
                model=self._name,
            )
        return split_by(chunk, self._groups, self._name)

    def _single(self, key: Key, payload: bytes) -> Any:
        head = (GET_FORM.least + len(payload)).to_bytes(4, "little") + key.to_bytes()
        found = self.fit(RowChunk(memoryview(head + payload), 1, len(head) + len(payload), lasting=True))
        for mismatch in found.mismatches:
            raise mismatch.fault or Refusal(f"{len(payload)} bytes do not match any version of {self._name}")
        return found.records

    def _upgraded(self, records: Any) -> tuple[Chunk, tuple[Mismatch, ...]]:
        """Upgrades records that `old` found to a chunk of the newest version."""
        if not len(records):
            return _NONE, ()
        try:
            return self._own.chunk_of(list(map(self._made, self._old.rows(records))), records), ()
        except Exception:  # noqa: BLE001 - the user's function may raise anything; handled record by record below
            return self._one_by_one(records)

    def _one_by_one(self, records: Any) -> tuple[Chunk, tuple[Mismatch, ...]]:
        pieces, mismatches = [], []
        payloads = list(self._old.payloads(records))
        for at, payload in enumerate(payloads):
            record = records[at : at + 1]
            try:
                pieces.append(self._own.chunk_of([self._made(next(self._old.rows(record)))], record))
            except Exception as error:  # noqa: BLE001 - becomes the cause of an UpgradeError
                why = f"{type(error).__name__}: {str(error).removeprefix('record 0: ')}"
                whole = f"the upgrade from {self._old_name} to {self._name} failed: {why}"
                fault = UpgradeFault(whole, self._old_name, self._name)
                fault.__cause__ = error
                key = Key(*(int(record[name][0]) for name in KEY_FIELDS))
                mismatches.append(Mismatch(key, payload, fault))
        return joined(pieces or [_NONE]), tuple(mismatches)

    def _made(self, row: Any) -> RowT:
        assert self.upgrade is not None
        made = self.upgrade(row)
        if type(made) is not self._kind:
            raise TypeError(f"it returned {shown(made)}, not a {self._name}")
        return made


def before(discriminators: Iterable[Discriminator], cap: int | None) -> tuple[Discriminator, ...]:
    """The same discriminators, limited to records captured before `cap`."""
    if cap is None:
        return tuple(discriminators)
    replace = msgspec.structs.replace
    return tuple(replace(each, until=cap if each.until is None else min(cap, each.until)) for each in discriminators)


def labelled(mismatches: Iterable[Mismatch], name: str) -> tuple[Mismatch, ...]:
    """Adds the name of the version or model to the faults of mismatches."""
    return tuple(msgspec.structs.replace(each, fault=_labelled(each.fault, name)) for each in mismatches)


def _labelled(fault: FieldFault | None, name: str) -> FieldFault:
    if isinstance(fault, Refusal):
        return fault
    if fault is None:
        return Refusal(f"it does not match {name}")
    named = Refusal(f"{name}.{fault.field}, at byte {fault.offset}: {fault.why}" if fault.field else f"{name}: {fault.why}")
    named.field, named.offset = fault.field, fault.offset
    return named


class UnionRecords(msgspec.Struct, frozen=True, eq=False):
    """Records of several models: indexed by a key component's name, a slice, or a mask.

    Attributes:
        parts: the records of each model, as `fit` of its codec returns them.
    """

    parts: tuple[Any, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, asked: Any) -> Any:
        """A key component's column, shape (n,); or a selection of the records, by a mask of shape (n,) or a slice that
        begins at 0 and has a step of 1."""
        if isinstance(asked, str):
            return np.concatenate([part[asked] for part in self.parts])
        mask = asked
        if isinstance(asked, slice):
            mask = np.zeros(len(self), np.bool_)
            mask[asked] = True
        edges = np.cumsum([len(part) for part in self.parts])[:-1]
        return UnionRecords(tuple(part[kept] for part, kept in zip(self.parts, np.split(mask, edges), strict=True)))


class UnionRowCodec(RowCodec[Any]):
    """See `RowCodec`; its rows are of several classes.

    Args:
        name: name of the union, for messages.
        members: name and codec of each model.
    """

    def __init__(self, name: str, members: Sequence[tuple[str, RowCodec[Any]]]) -> None:
        super().__init__(packed([]), self._unmade)
        self._name = name
        self._members = members
        self._groups = [codec.discriminators for _, codec in members]
        self.discriminators = tuple(chain.from_iterable(self._groups))

    def _fit(self, chunk: Chunk) -> Fit:
        """See `RowCodec.fit`; the records are `UnionRecords`."""
        return self._fitted(chunk, keys_only=False)

    def fit_keys(self, chunk: Chunk) -> Fit:
        return self._fitted(chunk, keys_only=True)

    def _fitted(self, chunk: Chunk, *, keys_only: bool) -> Fit:
        chunks, mismatches = split_by(chunk, self._groups, self._name, keys=True)
        parts = []
        for (name, codec), part in zip(self._members, chunks, strict=True):
            found = codec.fit_keys(part) if keys_only else codec.fit(part)
            parts.append(found.records)
            mismatches += labelled(found.mismatches, name)
        return Fit(UnionRecords(tuple(parts)), mismatches)

    def rows(self, records: UnionRecords) -> Iterator[Any]:
        pairs = zip(self._members, records.parts, strict=True)
        return chain.from_iterable(codec.rows(part) for (_, codec), part in pairs)

    def payloads(self, records: UnionRecords) -> Iterable[bytes]:
        pairs = zip(self._members, records.parts, strict=True)
        return chain.from_iterable(codec.payloads(part) for (_, codec), part in pairs)

    def encode(self, rows: Sequence[Any], *, with_acq: bool = False, first: int = 0) -> list[Batch]:
        """Raises: objects are written by the codec of their own class."""
        self._unmade()

    def chunk_of(self, rows: Sequence[Any], keys: Any) -> Chunk:
        """Raises: objects are written by the codec of their own class."""
        self._unmade()

    def _unmade(self, *_: object) -> NoReturn:
        raise TypeError(f"{self._name} is a union: use one of its models")

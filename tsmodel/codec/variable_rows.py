"""Rows of a payload whose size depends on its values: read and written one by one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.backend import Batch
from tsmodel.codec.compiling import reader, writer
from tsmodel.codec.constraints import Constraints
from tsmodel.codec.field import UNSUITABLE, FieldFault
from tsmodel.codec.fitting import Fit, Misfit, heads
from tsmodel.codec.layout import Layout
from tsmodel.codec.messages import MessageLayout
from tsmodel.codec.rows import KEY_SCALARS, RowCodec
from tsmodel.errors import EncodeError
from tsmodel.keys import KEY_FIELDS, Key
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD, PUT_FORM, PUTA_FORM, octets_of

__all__ = ["VariableRecords", "VariableRowCodec"]

RowT = TypeVar("RowT")

_HEADER: Final = GET_FORM.header.itemsize
_KEY: Final = struct.Struct("<4xiqiqq")
_KEY_PACK: Final = struct.Struct("<iqiqq").pack
_KEYS: Final = len(KEY_FIELDS)


@attrs.frozen(eq=False)
class VariableRecords:
    """Records whose payloads are read: indexed by a field's name, a slice or a mask, as a structured array is.

    Attributes:
        heads: sizes and keys; structured array, shape (n,).
        payloads: the payload of each.
        values: the values of each one's payload.
        names: names of those values.
    """

    heads: npt.NDArray[Any]
    payloads: list[bytes]
    values: list[tuple[Any, ...]]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, asked: Any) -> Any:
        """A key component's column, shape (n,); a payload field's values as an array of objects, shape (n,); or some of
        the records, by a slice or a mask of shape (n,)."""
        if isinstance(asked, str):
            if asked in KEY_FIELDS:
                return self.heads[asked]
            at = self.names.index(asked)
            column = np.empty(len(self.values), object)
            column[:] = [values[at] for values in self.values]
            return column
        if isinstance(asked, slice):
            return VariableRecords(self.heads[asked], self.payloads[asked], self.values[asked], self.names)
        kept = np.flatnonzero(asked).tolist()
        return VariableRecords(
            self.heads[asked], [self.payloads[at] for at in kept], [self.values[at] for at in kept], self.names
        )


class VariableRowCodec(RowCodec[RowT]):
    """See `RowCodec`.

    Args:
        read: the values of a payload; whatever it raises for bytes that are none, `layout.read` explains.
        write: the payload of the values.
    """

    def __init__(
        self,
        layout: Layout,
        make: Callable[..., RowT],
        fixed: Mapping[str, int] | None = None,
        tuples: Callable[[Iterable[RowT]], Iterable[tuple[Any, ...]]] | None = None,
        constraints: Mapping[str, Constraints] | None = None,
        *,
        strict_read: bool = False,
    ) -> None:
        super().__init__(layout, make, fixed, tuples, constraints, strict_read=strict_read)
        is_message = isinstance(layout, MessageLayout)
        self._read: Callable[[bytes], tuple[Any, ...]] = layout.read if is_message else reader(layout)
        self._write: Callable[..., bytes] = _spread(layout.write) if is_message else writer(layout)
        self._key_dtype = np.dtype([(name, scalar.dtype()) for name, scalar in KEY_SCALARS.items()])
        self._checked = [(layout.names.index(name) + _KEYS, each) for name, each in self.constraints.items()]

    def _fit(self, chunk: memoryview) -> Fit:
        starts = GET_FORM.offsets(chunk)
        octets = bytes(chunk)
        offsets = starts.tolist()
        read = self._read
        payloads = [octets[start + _HEADER : end] for start, end in pairwise([*offsets, len(octets)])]
        try:
            values = list(map(read, payloads))
            return Fit(VariableRecords(heads(chunk, starts), payloads, values, self.layout.names))
        except UNSUITABLE:
            return self._sorted_out(chunk, starts, payloads)

    def rows(self, records: VariableRecords) -> Iterator[RowT]:
        """See `RowCodec.rows`."""
        make = self.make
        keys = _KEY.iter_unpack(octets_of(records.heads))
        return (make(*key, *values) for key, values in zip(keys, records.values, strict=True))

    def encode(self, rows: Sequence[RowT], *, with_acq: bool = False, first: int = 0) -> list[Batch]:
        """See `RowCodec.encode`."""
        if not rows:
            return []
        form = PUTA_FORM if with_acq else PUT_FORM
        tuples, payloads, keys = self._written(rows, first)
        self._check_keys(("cid", *form.key_fields), keys, rows, first)
        pieces: dict[int, list[bytes]] = {}
        head = struct.Struct("<iqiqq" if with_acq else "<iqiq").pack
        last = _KEYS if with_acq else _KEYS - 1
        for at, (values, payload) in enumerate(zip(tuples, payloads, strict=True)):
            if len(payload) > MAX_PAYLOAD:
                raise EncodeError(
                    f"record {first + at}: its payload has {len(payload)} bytes; at most {MAX_PAYLOAD} can be stored",
                    record=first + at,
                )
            pieces.setdefault(values[0], []).append(head(form.least + len(payload), *values[1:last]) + payload)
        return [_batch(cid, pieces[cid]) for cid in sorted(pieces)]

    def chunk_of(self, rows: Sequence[RowT], keys: Any) -> memoryview:
        """See `RowCodec.chunk_of`."""
        _, payloads, _ = self._written(rows, 0)
        columns = zip(*(keys[name].tolist() for name in KEY_FIELDS), strict=True)
        pack, least = struct.Struct("<iiqiqq").pack, GET_FORM.least
        records = zip(payloads, columns, strict=True)
        return memoryview(b"".join([pack(least + len(payload), *key) + payload for payload, key in records]))

    def _written(self, rows: Sequence[RowT], first: int) -> tuple[list[tuple[Any, ...]], list[bytes], npt.NDArray[Any]]:
        """The values of each row, its payload, and all keys as a structured array."""
        tuples = list(self._tuples(rows))
        try:
            for at, constraint in self._checked:
                for values in tuples:
                    if why := constraint.violation(values[at]):
                        raise ValueError(why)
            payloads = [self._write(*values[_KEYS:]) for values in tuples]
            keys = np.frombuffer(b"".join([_KEY_PACK(*values[:_KEYS]) for values in tuples]), self._key_dtype)
        except UNSUITABLE as error:
            self._explain(rows, first, error)
        return tuples, payloads, keys

    def values_of(self, payload: bytes) -> tuple[Any, ...]:
        """See `RowCodec.values_of`."""
        try:
            return self._read(payload)
        except UNSUITABLE:
            return super().values_of(payload)

    def _payloads(self, records: VariableRecords) -> Iterable[bytes]:
        return records.payloads

    def _sorted_out(self, chunk: memoryview, starts: npt.NDArray[np.int64], payloads: list[bytes]) -> Fit:
        values, sound, misfits = [], np.ones(len(payloads), np.bool_), []
        for at, payload in enumerate(payloads):
            try:
                values.append(self.values_of(payload))
            except FieldFault as fault:
                sound[at] = False
                start = int(starts[at])
                misfits.append(Misfit(Key.from_bytes(chunk[start + 4 : start + _HEADER]), payload, fault))
        kept = [payload for payload, is_sound in zip(payloads, sound.tolist(), strict=True) if is_sound]
        return Fit(VariableRecords(heads(chunk, starts[sound]), kept, values, self.layout.names), tuple(misfits))


def _spread(write: Callable[[tuple[Any, ...]], bytes]) -> Callable[..., bytes]:
    return lambda *values: write(values)


def _batch(cid: int, pieces: list[bytes]) -> Batch:
    sizes = set(map(len, pieces))
    return Batch(cid, memoryview(b"".join(pieces)), len(pieces), sizes.pop() if len(sizes) == 1 else 0)

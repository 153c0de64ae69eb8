"""Changes of a model against a lock file, as values.

Rules kept here:

* A change is judged by what becomes of records that are stored already. What becomes of code is said in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, overload

import attrs

__all__ = ["Change", "Changes", "Severity"]

Severity = Literal["compatible", "readable-with-upgrade", "breaking"]
"""`compatible`: the model reads stored records as they are. `readable-with-upgrade`: it does once it replaces a class with
the old layout, for old records can be told from new ones. `breaking`: stored records cannot be read, or would be read
wrongly."""

_RANK: Final[dict[Severity, int]] = {"compatible": 0, "readable-with-upgrade": 1, "breaking": 2}


@attrs.frozen
class Change:
    """One difference between a lock file and a model.

    Attributes:
        model: the model's name.
        field: name of the field, with dots where fields are nested; None when it is about the whole model.
        severity: what becomes of stored records.
        what: what is different.
        why: what follows from it, and what to do.
    """

    model: str
    field: str | None
    severity: Severity
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.model}{f'.{self.field}' if self.field else ''}: {self.what}; {self.why}"


class Changes(Sequence[Change]):
    """Changes, the worst first; false when there are none. Printing it gives a line for each."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._changes = tuple(sorted(changes, key=lambda change: -_RANK[change.severity]))

    @property
    def breaking(self) -> Changes:
        """Those after which stored records cannot be read, or would be read wrongly."""
        return self.above("readable-with-upgrade")

    def above(self, severity: Severity) -> Changes:
        """Those that are worse."""
        return Changes(change for change in self if _RANK[change.severity] > _RANK[severity])

    @overload
    def __getitem__(self, at: int) -> Change: ...
    @overload
    def __getitem__(self, at: slice) -> Changes: ...
    def __getitem__(self, at: int | slice) -> Change | Changes:
        return Changes(self._changes[at]) if isinstance(at, slice) else self._changes[at]

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self._changes)

    def __str__(self) -> str:
        return "\n".join(map(str, self._changes)) or "no changes"

    def __repr__(self) -> str:
        return f"<Changes: {'; '.join(map(str, self._changes)) or 'none'}>"

"""Models and structures as dataclasses, for libraries that know those.

FastAPI takes a model as a body, `pandas.DataFrame` and `polars.DataFrame` make columns of a list of objects, and
`dataclasses.asdict`, `fields` and `replace` work.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

__all__ = ["DataclassFields", "DataclassParams"]

_made: Final[WeakKeyDictionary[type, dict[str, Any]]] = WeakKeyDictionary()


class DataclassFields:
    """What `dataclasses.fields` reads: made of a class' fields when it is first asked for."""

    def __get__(self, instance: object, owner: type[Any]) -> dict[str, Any]:
        fields = _made.get(owner)
        if fields is None:
            import dataclasses  # not needed otherwise

            like: Any = dataclasses.make_dataclass(owner.__name__, [(name, Any) for name in owner.__struct_fields__])
            fields = _made[owner] = like.__dataclass_fields__
        return fields


class DataclassParams:
    """What `pprint` reads: that a class prints itself."""

    repr = False

"""Packages that load each name when it is first used (PEP 562).

Such a package imports its names under `if TYPE_CHECKING:`, for type checkers and readers, and says here where they are::

    if TYPE_CHECKING:
        from tsmodel.query.query import Query
    else:
        __getattr__, __dir__ = lazily(__name__, {"query": "Query"})

A checker does not see the `__getattr__`, so it still refuses a name that does not exist.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazily"]


def lazily(
    package: str, homes: Mapping[str, str], modules: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package.

    Args:
        package: its name.
        homes: for each module of the package, the names to load from it, separated by spaces.
        modules: modules of the package that are names themselves, separated by spaces.
    """
    origins = {name: f"{package}.{home}" for home, names in homes.items() for name in names.split()}
    origins |= dict.fromkeys(modules.split(), "")

    def load(name: str) -> Any:
        origin = origins.get(name)
        if origin is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        if not origin:
            return import_module(f"{package}.{name}")
        value = getattr(import_module(origin), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *origins})

    return load, names

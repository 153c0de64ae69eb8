"""Packages whose names are loaded when they are first used (PEP 562).

Such a package imports its names under `if TYPE_CHECKING:`, for those who read the code, and says here where they are::

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
    """The `__getattr__` and the `__dir__` of a package.

    Args:
        package: its name.
        homes: by module within the package, the names that are loaded from there, with spaces between them.
        modules: modules within the package that are names themselves, with spaces between them.
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

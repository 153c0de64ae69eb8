"""Records as columns: NumPy, Arrow, pandas and polars, in and out. `library` imports optional libraries late."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any, Final

from tsmodel.errors import MissingLibraryError

__all__ = ["library"]

_EXTRAS = {
    "pyarrow": "arrow",
    "pandas": "pandas",
    "polars": "polars",
    "opentelemetry": "opentelemetry",
    "matplotlib": "plot",
    "jinja2": "codegen",
}
_known: Final[dict[str, ModuleType]] = {}


def library(name: str, what: str) -> Any:
    """Imports the optional module `name` for `what`, such as "to_arrow()".

    Raises:
        MissingLibraryError: when it is not installed; says which extra installs it.
    """
    if (known := _known.get(name)) is not None and sys.modules.get(name) is known:  # import_module takes ten times as long
        return known
    try:
        _known[name] = importlib.import_module(name)
        return _known[name]
    except ImportError as error:
        package = name.split(".")[0]
        raise MissingLibraryError(
            f"{what} needs {package}: pip install 'tstorage-model[{_EXTRAS[package]}]'", library=package
        ) from error

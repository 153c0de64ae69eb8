"""Libraries that only some need: imported when they are used, with what to do when one is missing."""

from __future__ import annotations

import importlib
from typing import Any

from tsmodel.errors import MissingLibraryError

__all__ = ["library"]

_EXTRAS = {"pyarrow": "arrow", "pandas": "pandas", "polars": "polars", "opentelemetry": "opentelemetry"}


def library(name: str, what: str) -> Any:
    """The module `name`, which `what` needs.

    Raises:
        MissingLibraryError: when it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise MissingLibraryError(
            f"{what} needs {package}: pip install 'tstorage-model[{_EXTRAS[package]}]'", library=package
        ) from error

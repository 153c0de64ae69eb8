"""What generated code brings along: helpers to read and write, one file for each language."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["runtime"]


def runtime(name: str) -> list[str]:
    """The lines of a file beside this module."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8").splitlines()

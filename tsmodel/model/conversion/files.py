"""Files as users name them: by path, or as objects that are open, of text or of bytes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, TypeAlias, cast

__all__ = ["Source", "Target", "TextSource", "text_source", "text_target"]

Source: TypeAlias = str | os.PathLike[str] | Iterable[str] | IO[bytes]
"""What is read: a path, a file that is open for text or bytes, or lines of text."""

Target: TypeAlias = str | os.PathLike[str] | IO[str] | IO[bytes]
"""What is written: a path, or a file that is open for text or bytes."""


class TextSource:
    """Text, by lines with their ends as they are, or by blocks of whole lines; without a byte order mark.

    Args:
        opened: a file that is open for text, or lines.
    """

    def __init__(self, opened: Iterable[str]) -> None:
        lines = iter(opened)
        # The codec "utf-8-sig" would take the mark away, too, and take twice as long for every line.
        self._lines = chain(map(_without_mark, islice(lines, 1)), lines)
        self._read = getattr(opened, "read", None)

    def lines(self) -> Iterator[str]:
        """What is left, by lines."""
        return self._lines

    @property
    def has_blocks(self) -> bool:
        """Whether it can be read by blocks."""
        return self._read is not None

    def block(self, characters: int) -> str:
        """The next whole lines, about so many characters; only if it has blocks."""
        assert self._read is not None
        block: str = next(self._lines, "") + self._read(characters)
        return block if block.endswith("\n") else block + next(self._lines, "")


@contextmanager
def text_source(source: Source, encoding: str) -> Iterator[TextSource]:
    """The text of a source. Closes what it has opened itself."""
    with _opened(source, encoding) as opened:
        yield TextSource(opened)


def _without_mark(line: str) -> str:
    return line.removeprefix("\ufeff") if isinstance(line, str) else line


@contextmanager
def _opened(source: Source, encoding: str) -> Iterator[Iterable[str]]:
    if isinstance(source, (str, os.PathLike)):
        with Path(source).open(encoding=encoding, newline="") as file:
            yield file
    elif _is_binary(source):
        wrapper = io.TextIOWrapper(cast("IO[bytes]", source), encoding=encoding, newline="")
        try:
            yield wrapper
        finally:
            wrapper.detach()
    else:
        yield cast("Iterable[str]", source)


@contextmanager
def text_target(target: Target, encoding: str) -> Iterator[IO[str]]:
    """A target to write text to, of which line ends are left as they are; closes what it has opened itself."""
    if isinstance(target, (str, os.PathLike)):
        with Path(target).open("w", encoding=encoding, newline="") as file:
            yield file
    elif _is_binary(target):
        wrapper = io.TextIOWrapper(cast("IO[bytes]", target), encoding=encoding, newline="")
        try:
            yield wrapper
        finally:
            wrapper.detach()
    else:
        yield cast("IO[str]", target)


def _is_binary(file: object) -> bool:
    return isinstance(file, (io.RawIOBase, io.BufferedIOBase)) or "b" in str(getattr(file, "mode", ""))

"""The options of the URLs that `connect` takes: what follows the question mark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar
from urllib.parse import parse_qs

from tsmodel.errors import SessionError

__all__ = ["UrlOptions"]

D = TypeVar("D", bound="float | None")

_UNITS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class UrlOptions:
    """The options of a URL, as text or converted.

    Args:
        url: the URL for messages, without passwords.
        query: what follows the question mark.
        known: names of the options.
        example: a valid URL for messages.

    Raises:
        SessionError: when an option is unknown, repeated or malformed. The methods raise it when a value is not valid.
    """

    def __init__(self, url: str, query: str, known: Sequence[str], example: str) -> None:
        self._url = url
        self._given: dict[str, str] = {}
        try:
            found = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError as error:
            raise SessionError(f"{url!r} is not a URL such as {example}: {error}") from error
        for name, values in found.items():
            if name not in known or len(values) > 1:
                raise SessionError(f"{url!r}: unknown or repeated option {name!r}; known are {', '.join(known)}")
            if "\0" in values[0]:
                raise SessionError(f"{url!r}: an option contains a NUL character")
            self._given[name] = values[0]

    def given(self, names: Sequence[str]) -> dict[str, str]:
        """Those of some options that the URL has."""
        return {name: self._given[name] for name in names if name in self._given}

    def text(self, name: str, default: str) -> str:
        """An option as it is written."""
        return self._given.get(name, default)

    def flag(self, name: str, default: bool) -> bool:
        """An option that is 0 or 1."""
        if name in self._given and self._given[name] not in ("0", "1"):
            raise self.refused(name, "; it is 1 for yes, 0 for no")
        return default if name not in self._given else self._given[name] == "1"

    def count(self, name: str, default: int) -> int:
        """A number of connections."""
        if name in self._given and not re.fullmatch(r"[1-9][0-9]{0,5}", self._given[name]):
            raise self.refused(name, " is not a number of connections from 1")
        return int(self._given.get(name, default))

    def size(self, name: str) -> int | None:
        """A number of bytes, perhaps with a unit; None if it is not given."""
        if name not in self._given:
            return None
        found = re.fullmatch(r"([1-9][0-9]{0,17})([kMGT]?)B?", self._given[name])
        if found is None:
            raise self.refused(name, " is not a number of bytes such as 64MB or 1000000")
        return int(found[1]) * _UNITS[found[2]]

    def seconds(self, name: str, default: D, *, or_0: bool = False) -> float | D:
        """A number of seconds above 0, or 0 where that has a meaning."""
        if name not in self._given:
            return default
        try:
            seconds = float(self._given[name])
        except ValueError:
            seconds = -1.0
        if not (0 < seconds < float("inf") or (or_0 and seconds == 0)):
            raise self.refused(name, f" is not a number of seconds {'from' if or_0 else 'above'} 0")
        return seconds

    def refused(self, name: str, why: str) -> SessionError:
        """The error for a value that is not valid."""
        return SessionError(f"{self._url!r}: {name}={self._given[name]!r}{why}")

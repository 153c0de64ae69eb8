"""ISO 8601 times by the column: what `to_ns` and `to_iso` do for one, for many of one shape, by NumPy.

Rules kept here:

* What is given is exactly what they would give. Whatever is out of the ordinary is not taken, and left to them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.timestamps import EPOCH_UNIX_NS

__all__ = ["iso_texts", "ns_of_texts"]

Ints = npt.NDArray[np.int64]

_SECOND: Final = 10**9
_DAYS_OF_2001: Final = EPOCH_UNIX_NS // _SECOND // 86_400
_DAYS_OF_MONTHS: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_FIRST_YEAR, _LAST_YEAR = 1709, 2291  # all of each lies within int64
_LEAST: Final = np.array([_FIRST_YEAR, 1, 1, 0, 0, 0, 0, 0, 0])
_GREATEST: Final = np.array([_LAST_YEAR, 12, 31, 23, 59, 59, 10**9, 23, 59])
_DIGIT: Final = re.compile("[0-9]")
_SHAPE: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?(?:Z|[+-](\d{2}):(\d{2}))", re.ASCII
)


def ns_of_texts(texts: Sequence[str]) -> list[int]:
    """What `to_ns` gives for each.

    Raises:
        ValueError: when one of them is not a plain ISO 8601 time with seconds and an offset.
    """
    widths = list(map(len, texts))
    if len(set(widths)) == 1:
        return _of_one_width(texts).tolist()  # type: ignore[no-any-return]
    ns: Any = np.empty(len(texts), np.int64)
    of_text = np.array(widths)
    for width in set(widths):
        (places,) = np.nonzero(of_text == width)
        at: list[int] = places.tolist()
        ns[places] = _of_one_width([texts[place] for place in at])
    return ns.tolist()  # type: ignore[no-any-return]


@attrs.frozen
class _Shape:
    """How texts of one width are written.

    Attributes:
        digits: which characters are digits; shape (width,).
        others: those that are not, and are the same in all texts.
        weights: what the digits are worth in each number; shape (width, 9).
        sign: the place of the offset's sign; None for Z.
    """

    digits: npt.NDArray[np.bool_]
    others: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float64]
    sign: int | None

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, text: str) -> _Shape:
        """The shape of a text, of which all digits are "0".

        Raises:
            ValueError: when it is not a plain ISO 8601 time.
        """
        match = _SHAPE.fullmatch(text)
        _demand(match is not None)
        assert match is not None
        weights = np.zeros((len(text), len(match.groups())))
        for number in range(1, 10):
            start, stop = match.span(number)
            last = 8 if number == 7 else stop - start - 1  # the digits behind the point count up to nanoseconds
            weights[start:stop, number - 1] = [10 ** (last - at) for at in range(stop - start)]
        sign = None if match[8] is None else match.start(8) - 1
        digits: npt.NDArray[np.bool_] = np.asarray(weights.any(axis=1))
        others = ~digits
        others[sign if sign is not None else 0] = False
        return cls(digits, others, weights, sign)


def _of_one_width(texts: Sequence[str]) -> Ints:
    octets = np.frombuffer("".join(texts).encode("ascii"), np.uint8).reshape(len(texts), -1)
    shape = _Shape.of(_DIGIT.sub("0", texts[0]))
    first = octets[0]
    digits = octets - np.uint8(ord("0"))  # what is none wraps around to more than 9
    _demand((digits[:, shape.digits] <= 9).all() and (octets[:, shape.others] == first[shape.others]).all())
    numbers = (digits @ shape.weights).astype(np.int64)  # below 2**53, so exact
    _demand(((numbers >= _LEAST) & (numbers <= _GREATEST)).all())
    year, month, day, hour, minute, second, fraction, offset_hour, offset_minute = numbers.T
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    _demand((day <= _DAYS_OF_MONTHS[month] + (leap & (month == 2))).all())
    seconds = ((_days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    if shape.sign is not None:
        west = octets[:, shape.sign] == ord("-")
        _demand((west | (octets[:, shape.sign] == ord("+"))).all())
        seconds -= np.where(west, -60, 60) * (offset_hour * 60 + offset_minute)
    ns: Ints = seconds * _SECOND + fraction
    return ns


def _days(year: Ints, month: Ints, day: Ints) -> Ints:
    """Days since 2001-01-01 in the Gregorian calendar; the year taken to begin in March, so that leap days end it."""
    year = year - (month <= 2)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719_468 - _DAYS_OF_2001


def _demand(holds: Any) -> None:
    if not holds:
        raise ValueError("not all are plain ISO 8601 times")


def iso_texts(times: Sequence[int]) -> list[str]:
    """What `to_iso` gives for each.

    Raises:
        OverflowError: when one is not an int64.
    """
    ns = np.array(times, np.int64)
    seconds, fractions = np.divmod(ns, _SECOND)
    unix = (seconds + EPOCH_UNIX_NS // _SECOND).astype("datetime64[s]")
    whole = np.datetime_as_string(unix).tolist()
    if not fractions.any():
        return [text + "Z" for text in whole]
    return [
        text + _shown_fraction(fraction) if fraction else text + "Z"
        for text, fraction in zip(whole, fractions.tolist(), strict=True)
    ]


def _shown_fraction(fraction: int) -> str:
    if fraction % 1000:
        return f".{fraction:09d}Z"
    micros = fraction // 1000
    return f".{micros:06d}Z" if micros % 1000 else f".{micros // 1000:03d}Z"

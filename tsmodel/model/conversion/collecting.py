"""What becomes of the faults of a file.

Rules kept here:

* Nothing is dropped in silence: every record that is left out has been handed to the caller's function, or stands in the
  error that ends the reading, if only as one of a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from tsmodel.errors import ConversionError, ConversionFault

__all__ = ["Collector", "ErrorHandling", "conversion_error"]

ErrorHandling: TypeAlias = Literal["raise", "collect"] | Callable[[ConversionError], object]

_MOST_SHOWN: Final = 20


def conversion_error(
    what: str, faults: tuple[ConversionFault, ...], *, line: int | None = None, record: object = None
) -> ConversionError:
    """The error of one record.

    Args:
        what: what could not be made.
        faults: all that is wrong.
        line: where it stands.
        record: the data at fault.
    """
    if len(faults) == 1:
        return ConversionError(f"{what}: {faults[0]}", faults=faults, line=line, record=record)
    return ConversionError(f"{what}: {len(faults)} faults{_listed(faults)}", faults=faults, line=line, record=record)


def _listed(faults: tuple[ConversionFault, ...]) -> str:
    shown = [f"\n  {fault}" for fault in faults[:_MOST_SHOWN]]
    rest = len(faults) - len(shown)
    return "".join(shown) + (f"\n  and {rest} more, in .faults" if rest else "")


class Collector:
    """Takes the faults of a file.

    Args:
        model: name of the model.
        errors: `raise`, `collect`, or a function that is called with the error of each record.
        max_errors: faulty records after which reading ends; None for any number. Of no meaning for a function.

    Raises:
        ValueError: when an argument is not valid.
    """

    def __init__(self, model: str, errors: ErrorHandling, max_errors: int | None) -> None:
        if errors not in ("raise", "collect") and not callable(errors):
            raise ValueError(f'errors={errors!r}; it is "raise", "collect", or a function')
        if max_errors is not None and (type(max_errors) is not int or max_errors < 1):
            raise ValueError(f"max_errors={max_errors!r}; it is an int from 1, or None for any number")
        self._model = model
        self._errors = errors
        self._max_errors = max_errors
        self._faults: list[ConversionFault] = []
        self._records = 0

    @property
    def has_ended(self) -> bool:
        """Whether no more objects are to be given: a fault was found, and errors are raised."""
        return self._records > 0 and self._errors == "raise"

    def take(self, faults: tuple[ConversionFault, ...], line: int | None, record: object) -> None:
        """Takes the faults of a record.

        Raises:
            ConversionError: when there are too many.
        """
        faults = tuple(fault._replace(line=line) for fault in faults)
        if callable(self._errors):
            self._errors(conversion_error(self._model, faults, line=line, record=record))
            return
        self._faults += faults
        self._records += 1
        if self._records == self._max_errors:
            self._raise(f"; not looked any further (max_errors={self._max_errors})" if self._records > 1 else "")

    def end(self) -> None:
        """Raises the error of all that was found.

        Raises:
            ConversionError: when there was any fault.
        """
        if self._records:
            self._raise("")

    def give_up(self, why: str, line: int) -> None:
        """Raises when the file cannot be read on.

        Raises:
            ConversionError: always; with all that was found before.
        """
        self._faults.append(ConversionFault(why, line=line))
        self._records += 1
        self._raise("; the file cannot be read further")

    def _raise(self, end: str) -> None:
        faults = tuple(self._faults)
        if len(faults) == 1:
            raise ConversionError(f"{self._model}: {faults[0]}{end}", faults=faults, line=faults[0].line)
        lines = f"{self._records} {'line' if self._records == 1 else 'lines'}"
        raise ConversionError(f"{self._model}: {len(faults)} faults in {lines}{end}{_listed(faults)}", faults=faults)

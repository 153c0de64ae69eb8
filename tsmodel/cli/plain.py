"""The argument parser of commands that work without the extra `cli`. Its errors read like those of the other commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NoReturn

from tsmodel.cli.failures import UsageError

__all__ = ["Parser"]

_UNKNOWN = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for arguments that are not valid.

        Raises:
            UsageError: always.
        """
        if message.startswith(_UNKNOWN):
            message = self._unknown(message.removeprefix(_UNKNOWN))
        raise UsageError(f"{message} ({self.prog} --help shows the arguments)")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(each) for each in action.choices]
            raise argparse.ArgumentError(
                action, f"{value!r} is not one of {', '.join(choices)}{_hint(str(value), choices)}"
            )

    def _unknown(self, arguments: str) -> str:
        first = arguments.split()[0]
        if not first.startswith("-"):
            return f"unexpected arguments: {arguments}"
        name = first.partition("=")[0]
        return f"there is no option {name}{_hint(name, self._options())}"

    def _options(self) -> list[str]:
        """Options of this command and of its actions."""
        found = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action.choices, dict):
                found += [name for each in action.choices.values() for name in each._option_string_actions]
        return found


def _hint(word: str, known: Iterable[str]) -> str:
    found = get_close_matches(word, list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""

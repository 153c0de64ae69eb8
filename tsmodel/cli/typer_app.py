"""Commands built with typer. Each is imported when it runs, or when it prints its help.

Help is plain text: importing rich would take longer than reading the help.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, Final, get_type_hints

import typer
from typer.core import TyperGroup

from tsmodel.cli.arguments import Selection
from tsmodel.cli.commands import COMMANDS, COMPLETE
from tsmodel.cli.failures import Ended, closed_pipe

__all__ = ["run"]

_SETTINGS: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def run(arguments: list[str]) -> int:
    """Runs a command; returns its exit status."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"tsmodel: {message}", file=sys.stderr)
        return _ended(arguments)


def _ended(arguments: list[str]) -> int:
    # A command runs by itself. The group of all commands is only for completion, and slow to build.
    name = arguments[0] if arguments else ""
    if name in COMMANDS and COMPLETE not in os.environ:
        command, rest, program = _command(name), arguments[1:], f"tsmodel {name}"
    else:
        command, rest, program = typer.main.get_command(_app), arguments, "tsmodel"
    try:
        status = command.main(rest, prog_name=program, standalone_mode=False)
    except Ended as ended:
        return ended.status
    return status if isinstance(status, int) else 0


def _command(name: str) -> Any:
    """A command, with the module that has it."""
    module = importlib.import_module(f"tsmodel.cli.{COMMANDS[name].module}")
    function = getattr(module, f"{name}_")
    # Behind a line of \b text keeps its lines.
    text = inspect.cleandoc(function.__doc__).replace("\n\nExample", "\n\n\b\nExample")
    return _made(name, _guarded(function), help=text, context_settings=_SETTINGS)


def _made(name: str, function: Callable[..., Any], **options: Any) -> Any:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, **options)(function)
    return typer.main.get_command(app)


class _Lazy(TyperGroup):
    """The commands, imported one by one."""

    _is_naming = False

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Completes names of commands without importing any of them."""
        self._is_naming = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._is_naming = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """One of them, or None."""
        command = COMMANDS.get(cmd_name)
        if command is None:
            return None
        if command.is_plain or self._is_naming:
            return _made(cmd_name, _plain, help=command.summary)
        return _command(cmd_name)


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as typer can take it: with the options of a `Selection` as parameters of their own.

    Hides interrupts and closed output from typer, whose versions handle them differently.
    """
    parameters: dict[str, Any] = {}
    groups: dict[str, list[str]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind, marks = parameter.annotation, getattr(parameter.annotation, "__metadata__", ())
        if getattr(kind, "__origin__", kind) is not Selection:
            parameters[parameter.name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        left_out = [name for mark in marks for name in mark.names]
        groups[parameter.name] = [name for name in Selection._fields if name not in left_out]
        kinds = get_type_hints(Selection, include_extras=True)
        for name in groups[parameter.name]:
            default = Selection._field_defaults[name]
            parameters[name] = inspect.Parameter(name, parameter.KEYWORD_ONLY, default=default, annotation=kinds[name])

    @functools.wraps(function)
    def guarded(**options: Any) -> Any:
        for group, names in groups.items():
            options[group] = Selection(**{name: options.pop(name) for name in names})
        try:
            return function(**options)
        except KeyboardInterrupt:
            raise Ended(130) from None
        except BrokenPipeError as error:
            if closed_pipe(error):
                raise Ended(141) from None
            raise

    made: Any = guarded
    made.__signature__ = inspect.Signature(list(parameters.values()))
    made.__annotations__ = {name: each.annotation for name, each in parameters.items()}
    return guarded


def _plain() -> None:
    """Placeholder for a command whose name is being completed, or that typer does not run."""


def _commands() -> None:
    """All commands."""


_app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
_app.callback(cls=_Lazy)(_commands)

"""What objects do in a process that was forked from the one that made them.

A child has copies of the parent's descriptors, of locks that threads of the parent may have held, and none of its other
threads. Who holds any of these registers a method here. It is called in the child before anything else runs there.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from itertools import count

__all__ = ["in_child"]

_numbers = count()
_methods: dict[int, tuple[weakref.ref[object], Callable[..., object]]] = {}
"""An object and its method; not WeakMethods, whose callbacks fail with a message when the interpreter ends."""


def in_child(method: Callable[[], object]) -> None:
    """Has a bound method called in every child that is forked from now on. It does not keep the method's object alive.

    The method must not wait for locks that were made before the fork.
    """
    number = next(_numbers)
    methods = _methods  # for when the interpreter ends, and takes this module's names away
    owner, function = method.__self__, method.__func__  # type: ignore[attr-defined]
    methods[number] = weakref.ref(owner, lambda _: methods.pop(number, None)), function


def _forked() -> None:
    for reference, function in list(_methods.values()):
        owner = reference()
        if owner is not None:
            try:
                function(owner)
            except Exception:
                import logging

                logging.getLogger("tsmodel").exception("%r could not be called in a forked process", function)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

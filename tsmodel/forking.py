"""What objects do in a process that was forked from the one that made them.

A child has copies of the parent's descriptors, of locks that threads of the parent may have held, and none of its other
threads. Who holds any of these registers a method here. It is called in the child before anything else runs there.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from itertools import count
from types import MethodType
from typing import Any, cast

__all__ = ["in_child"]

_numbers = count()
_methods: dict[int, tuple[weakref.ref[Any], Callable[[Any], object]]] = {}


def in_child(method: Callable[[], object]) -> None:
    """Has a bound method called in every child that is forked from now on. It does not keep the method's object alive.

    The method must not wait for locks that were made before the fork.
    """
    number, bound = next(_numbers), cast("MethodType", method)

    def forget(_: object, pop: Callable[[int, None], object] = _methods.pop) -> None:
        pop(number, None)

    # A WeakMethod, or the global name in `forget`, causes errors at interpreter exit for objects that are still alive.
    _methods[number] = (weakref.ref(bound.__self__, forget), bound.__func__)


def _forked() -> None:
    for reference, method in list(_methods.values()):
        owner = reference()
        if owner is not None:
            try:
                method(owner)
            except Exception:
                import logging

                logging.getLogger("tsmodel").exception("%r could not be called in a forked process", method)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

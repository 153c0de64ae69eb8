"""Reads the annotations of a class body during class creation, on every supported Python version.

Rules kept here:

* Up to Python 3.13, and under `from __future__ import annotations`, the namespace of a class body holds `__annotations__`.
  From 3.14 on it holds a function that computes them instead (PEP 649). If the namespace has `__annotations__`, they are
  used as they are.
* No annotation is skipped silently: one that cannot be evaluated raises a `SchemaError`.
"""

from __future__ import annotations

import re
import sys
from types import FrameType
from typing import Any, ClassVar, Final, ForwardRef, get_args, get_origin

from tsmodel.errors import SchemaError

__all__ = ["resolved", "take_annotations"]

_CLASS_VAR: Final = re.compile(r"\s*(\w+\.)*ClassVar\b")
"""Matches ClassVar annotations. Their content need not be resolved: a class variable is not a field."""


def take_annotations(model: str, namespace: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the annotations of a class body, by name, and stores them in its `namespace` as `__annotations__`.

    A body without annotations gives None; one whose annotations are all under conditions that are false, such as
    `if TYPE_CHECKING`, gives an empty dict.
    """
    late = _take_late_annotations(model, namespace)
    if late is not None:
        namespace.setdefault("__annotations__", late)
    return namespace.get("__annotations__")


def resolved(model: str, name: str, annotation: object, namespace: dict[str, Any], frame: FrameType | None) -> object:
    """Resolves strings and forward references in the annotation of a field, in the frame of the class statement."""
    if get_origin(annotation) is ClassVar or not _has_reference(annotation):
        return annotation
    module = sys.modules.get(namespace.get("__module__", ""))
    scope = {**vars(module)} if module else {}
    if frame is not None:
        scope = {**scope, **frame.f_globals, **frame.f_locals}
    local = dict(namespace)
    text = ""

    def evaluated(part: Any) -> Any:
        nonlocal text
        if isinstance(part, ForwardRef):
            part = part.__forward_arg__
        if isinstance(part, str):
            text = part  # may be a string again: a quoted annotation under the __future__ import
            return evaluated(eval(part, scope, local))  # noqa: S307 - the class body's own annotation
        if not _has_reference(part):
            return part
        origin: Any = get_origin(part)
        return origin[tuple(each if isinstance(each, str) else evaluated(each) for each in get_args(part))]

    try:
        return evaluated(annotation)
    except Exception as error:
        if isinstance(annotation, str) and _CLASS_VAR.match(annotation):
            return ClassVar
        remedy = "; import its names in the module or in the function that declares the class, not only under TYPE_CHECKING"
        raise SchemaError(
            f"{model}.{name}: the annotation {text!r} cannot be resolved ({error})"
            + (remedy if isinstance(error, NameError) else ""),
            model=model,
            field=name,
        ) from error


def _has_reference(annotation: object) -> bool:
    """Whether the annotation is a string, or has a forward reference at any depth.

    A string below the first level is a value, as in `Literal["on"]`: Python turns one that names a type into a reference.
    """
    if isinstance(annotation, (str, ForwardRef)):
        return True
    return any(not isinstance(part, str) and _has_reference(part) for part in get_args(annotation))


def _take_late_annotations(model: str, namespace: dict[str, Any]) -> dict[str, Any] | None:
    """Computes lazy annotations (PEP 649); returns None if there are none.

    Removes the function from the namespace, because it would contradict the annotations that are passed to msgspec.
    """
    if sys.version_info >= (3, 14):
        import annotationlib

        compute = annotationlib.get_annotate_from_class_namespace(namespace)
        for key in ("__annotate_func__", "__annotate__"):
            namespace.pop(key, None)
        try:
            if compute is not None:
                return annotationlib.call_annotate_function(compute, annotationlib.Format.FORWARDREF)
        except Exception as error:
            raise SchemaError(f"class {model}: its annotations cannot be computed ({error})", model=model) from error
    return None

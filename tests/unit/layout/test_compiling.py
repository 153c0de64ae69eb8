"""Tracebacks show the source of generated functions while their model exists."""

from __future__ import annotations

import gc
import linecache
from typing import Any

from tsmodel import Int8, Int32, Nullable, Text, TSModel, field
from tsmodel.model.model import codec_of


def sources() -> set[str]:
    return {name for name in linecache.cache if name.startswith("<tsmodel ")}


def test_sources_are_released_with_the_model() -> None:
    def declared() -> Any:
        annotations = {"a": Int32, "b": Nullable[int], "c": Text}
        namespace = {"__annotations__": annotations, "__module__": __name__, "b": field(item=Int8)}
        return type(TSModel)("Made", (TSModel,), namespace)

    def used() -> set[str]:
        model = declared()
        codec_of(model).payload_of(model(cid=1, mid=1, moid=1, cap=1, a=1, b=None, c="x"))
        return sources() - before

    gc.collect()
    before = sources()
    assert used()
    gc.collect()
    assert sources() <= before

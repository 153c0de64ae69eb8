"""Every Python block of the README and the docs runs, and prints what it is said to print.

Blocks of one file share a namespace and run in their order, in an empty directory, and close what they open. A fence
`python no-run` is only compiled. A fence `text output` behind a block is what that block prints; `...` stands for anything.
"""

from __future__ import annotations

import contextlib
import doctest
import gc
import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    info: str
    line: int
    body: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(m["info"].strip(), text.count("\n", 0, m.start("body")), m["body"]) for m in FENCE.finditer(text)]


def test_the_readme_has_snippets() -> None:
    assert any(block.info == "python" for block in blocks(ROOT / "README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_snippets(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("snippets")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    printed = ""
    for block in blocks(page):
        if block.info.startswith("python"):
            # The blank lines give a traceback the page's line numbers.
            code = compile("\n" * block.line + block.body, str(page), "exec")
            if block.info == "python no-run":
                continue
            assert block.info == "python", f"{page.name}:{block.line}: unknown fence {block.info!r}"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(code, module.__dict__)
            printed = out.getvalue()
        elif block.info == "text output":
            want, got = (re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE) for text in (block.body, printed))
            same = doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)
            assert same, f"{page.name}:{block.line} says\n{want}\nbut it prints\n{got}"
    # What a page leaves open warns here, and not in whichever test the collector next runs in.
    vars(module).clear()
    gc.collect()

"""Builds the documentation: `sphinx-build -W -b html docs build/docs`. Warnings are errors, and nothing is fetched.

A page belongs to the section whose folder it lies in: the `index.md` there lists its pages in order, and its line
`(rest)` stands for all others of the folder. A page that lies in `docs/` itself is listed with the how-to guides.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import generate  # noqa: E402 - it lies beside this file

import tsmodel  # noqa: E402

project = "tsmodel"
author = "the authors of tsmodel"
project_copyright = "the authors of tsmodel, Apache License 2.0"
version = release = tsmodel.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
source_suffix = {".md": "markdown"}
exclude_patterns = ["**/generated.*"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "literal"  # docstrings mark code by single backticks
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "__init__, __new__"}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = False
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Class keywords", "params_style"), ("Class attributes", "params_style")]
napoleon_use_ivar = True

html_theme = "furo"
html_title = "tsmodel"
html_static_path = ["_static"]
html_css_files = ["tsmodel.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def write_commands(app: Any) -> None:
    """Writes the page of all commands, which `tsmodel COMMAND --help` is the source of."""
    page = Path(app.srcdir, "reference", "commands.md")
    text = generate.commands()
    if not page.exists() or page.read_text() != text:
        page.write_text(text)


def list_the_rest(app: Any, name: str, source: list[str]) -> None:
    """Puts the pages that a section does not list in place of `(rest)`."""
    if not name.endswith("/index"):
        return
    folder = Path(app.srcdir, name).parent
    pages = {page.stem for page in folder.glob("*.md")} - {"index"}
    if name == "how-to/index":
        pages |= {f"/{page.stem}" for page in folder.parent.glob("*.md")} - {"/index", "/changes"}
    listed = set(source[0].splitlines())
    source[0] = source[0].replace("\n(rest)\n", "\n" + "".join(f"{page}\n" for page in sorted(pages - listed)))


def include_only(app: Any, name: str, source: list[str]) -> None:  # noqa: ARG001 - Sphinx hands them over
    """Drops the link to a file that the page includes: it is for those who read the page in a checkout."""
    source[0] = re.sub(r"\AIn a checkout, read .*\n\n(?=```\{include\})", "", source[0])


def sections(app: Any, env: Any, *_: Any) -> list[str]:  # noqa: ARG001 - Sphinx hands them over
    """Pages that are read again in every build: their lists may have become longer."""
    return [name for name in env.found_docs if name.endswith("/index")]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", list_the_rest)
    app.connect("source-read", include_only)
    app.connect("env-get-outdated", sections)
    app.connect("builder-inited", write_commands)

"""The built documentation: every public name has an entry, and answers to common questions are two clicks away.

The gate builds the site and sets TSMODEL_SITE to its folder; otherwise these tests are skipped. To run them:
`sphinx-build -W -b html docs build/docs` and `TSMODEL_SITE=build/docs pytest tests/docs/test_site.py`.
"""

from __future__ import annotations

import os
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

import tsmodel

SITE = os.environ.get("TSMODEL_SITE")
pytestmark = pytest.mark.skipif(SITE is None, reason="TSMODEL_SITE is not set to a built site")

WITHIN = 2
QUESTIONS = {
    "How do I draw what is in a CSV file?": "tutorial/from-csv-to-chart.html#draw-it",
    "How do I import local times when the clocks go back?": "how-to/importing-data.html#the-hour-that-occurs-twice",
    "How do I take back an import?": "how-to/undoing-a-wrong-import.html#find-the-put-later",
    "How do I get the readings of one meter for one day?": "reference/queries.html#what-to-read",
    "How do I compute the usage of a counter that rolls over?": "reference/aggregation.html#counters",
    "How many bytes does a Scaled take?": "reference/field-types.html#all-of-them",
    "Is a record stored when the connection broke during flush?": "reference/sessions-and-writing.html#when-a-write-fails",
    "How do I serve TLS?": "how-to/operating-a-server.html#let-other-machines-in-with-tls",
    "How do I restore a backup?": "how-to/backing-up-and-restoring.html#restore",
    "What did the database know last Monday?": "explanation/corrections-and-time-travel.html",
    "Which arguments does connect take?": "reference/api/sessions.html#tsmodel.connect",
    "Which options does tsmodel get take?": "reference/commands.html#get",
    "Why does my query read so many records?": "explanation/boxes.html#what-this-means-for-you",
}
"""The page and section that answer each question."""


class Links(HTMLParser):
    """The links in the text of a page, without those of the sidebar and the table of contents."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.anchors: set[str] = set()
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("id"):
            self.anchors.add(str(named["id"]))
        if tag == "article":
            self._depth += 1
        if tag == "a" and self._depth and named.get("href"):
            self.found.append(str(named["href"]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self._depth -= 1


@cache
def page(name: str) -> Links:
    assert SITE is not None
    links = Links()
    links.feed(Path(SITE, name).read_text())
    return links


def links_of(name: str) -> set[str]:
    """Pages that a page links to, with anchors."""
    found = {unquote(urljoin(name, link)) for link in page(name).found if not urlsplit(link).scheme}
    return {link for link in found if urlsplit(link).path.endswith(".html")}


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_are_within_two_clicks(question: str) -> None:
    target = QUESTIONS[question]
    path, _, anchor = target.partition("#")
    assert not anchor or anchor in page(path).anchors, f"{path} has no section {anchor}"
    reached = {"index.html"}
    for _ in range(WITHIN):
        reached |= {urlsplit(link).path for name in reached for link in links_of(name)}
    assert path in reached


def test_links_are_not_broken() -> None:
    assert SITE is not None
    pages = {each.relative_to(SITE).as_posix(): each for each in Path(SITE).rglob("*.html")}
    assert len(pages) > 50
    broken = []
    for name in sorted(pages):
        if name in ("search.html", "genindex.html", "py-modindex.html"):
            continue
        for link in links_of(name):
            path, _, anchor = link.partition("#")
            if path not in pages or (anchor and anchor not in page(path).anchors):
                broken.append(f"{name}: {link}")
    assert not broken


def test_every_public_name_is_in_the_reference() -> None:
    assert SITE is not None
    text = "".join(each.read_text() for each in Path(SITE, "reference", "api").glob("*.html"))
    described = {name.rpartition(".")[2] for name in re.findall(r'id="(tsmodel\.[\w.]+)"', text)}
    modules = {"schema"}
    assert set(tsmodel.__all__) - described - modules == set()

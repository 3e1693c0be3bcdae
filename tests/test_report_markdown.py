"""The Markdown report can be pasted into a ticket, whatever the names in it are."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

from leakmw.records import Frame
from leakmw.report.markdown import code, markdown, prose

if TYPE_CHECKING:
    from leakmw.records import Report

HOSTILE = [
    "GET /<script>alert(1)</script>",
    "GET /[click](http://evil.example)",
    "GET /![x](https://evil.example/x.png)",
    "GET /`code` ``more``",
    "GET /``` </details> <b>",
    "GET /a|b\\|c",
    "GET /*a* _b_ ~~c~~ $d$",
    "GET /@everyone",
    "GET /http://evil.example",
    "GET /www.evil.example",
    "GET /&lt;b&gt;",
    "`",
    "",
]


def _rendered(source: str) -> str:
    page: str = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(source)
    return page


def _shown(page: str) -> str:
    """Return the text that a reader sees."""
    text = re.sub(r"<!--.*?-->|<[^>]+>", "", page)
    for entity, sign in {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&amp;": "&"}.items():
        text = text.replace(entity, sign)
    return text


def test_a_ticket_has_what_the_text_report_has(shop_report: Report) -> None:
    """Finding, place, growth, evidence and the table are there."""
    said = markdown(shop_report)

    assert said.startswith("# leakmw report on shop 1.4.2\n\nFound: 1 suspect, 1 settled.\n")
    assert "## Suspect: `POST /login`, 1.1 KiB/request, 45.5 MiB/hour" in said
    assert "- **at:** `shop/views.py:42` in `login`" in said
    assert "- **why:** grew in each of the last 6 windows" in said
    assert "- **id:** `9f2c41d0b7aa`" in said
    assert "POST /login          4,012  4.3 MiB" in said


def test_the_whole_traceback_is_folded_away(shop_report: Report) -> None:
    """A ticket keeps every frame, library lines too."""
    page = _rendered(markdown(shop_report))

    assert "<details><summary>Traceback, 5 frames, innermost last</summary>" in page
    assert "uuid.py:726 in uuid4\n</code></pre>" in page


def test_without_findings_the_ticket_says_so(shop_report: Report) -> None:
    """An empty report is a statement, not an empty page."""
    calm = replace(shop_report, findings=(), endpoints=())

    assert "Nothing grew over 12,012 requests" in markdown(calm)
    assert "##" not in markdown(calm)


def test_a_finding_without_a_site_says_so(shop_report: Report) -> None:
    """No place is made up."""
    first = shop_report.findings[0]
    growth = replace(first.growth, site=None, traceback=())
    said = markdown(replace(shop_report, findings=(replace(first, growth=growth),)))

    assert "- **at:** no line of the app is known" in said
    assert "<details>" not in said


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_code_is_shown_as_it_stands(name: str) -> None:
    """A code span ends where it should, and nowhere before."""
    page = _rendered(f"a {code(name)} b")

    assert page.count("<") == 4
    assert _shown(page).split() == ["a", *name.split(), "b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_a_sentence_is_shown_as_it_stands(name: str) -> None:
    """Markdown's own signs are escaped."""
    page = _rendered(f"a {prose(name)} b")

    assert _shown(page).split() == ["a", *name.split(), "b"]
    assert set(re.findall(r"<[^>]+>", page)) <= {"<p>", "</p>", "<!-- -->"}


@pytest.mark.parametrize("name", ["@everyone", "https://evil.example", "WWW.evil.example"])
def test_a_sentence_neither_mentions_nor_links(name: str) -> None:
    """Ticket systems link on sight; an empty comment parts what they look for."""
    assert name not in prose(name)
    assert _shown(_rendered(prose(name))).strip() == name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_report_full_of_hostile_names_stays_a_report(shop_report: Report, name: str) -> None:
    """The page has the tags of an innocent report, and no others."""
    first = shop_report.findings[0]
    site = Frame(name, 1, name)
    growth = replace(first.growth, endpoint=name, site=site, traceback=(site,))
    finding = replace(first, growth=growth, evidence=(name,), advice=name, cause=name)
    hostile = replace(
        shop_report, service=name, findings=(finding,), endpoints=(growth,), notes=(name,)
    )
    page = _rendered(markdown(hostile))
    tags = set(re.findall(r"</?\w+", page))

    assert tags <= set(re.findall(r"</?\w+", _rendered(markdown(shop_report))))
    assert page.count("<h2>") == 2


def test_a_long_name_is_shortened(shop_report: Report) -> None:
    """A ticket has a size limit; the JSON report has the whole name."""
    long = replace(shop_report.findings[0].growth, endpoint="GET /" + "x" * 10_000)
    finding = replace(shop_report.findings[0], growth=long)

    assert len(markdown(replace(shop_report, findings=(finding,)))) < 5_000

"""The page shows the report worst first, needs nothing from elsewhere, and trusts no name."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakmw.admin.page import diff_page, failure_page, report_page, waiting_page
from leakmw.admin.tables import ROWS_SHOWN
from leakmw.records import Finding, Frame, Growth, Holder, Report, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakmw.admin.messages import AdminResponse
    from leakmw.records import Diff

VOID = {"meta", "link"}


class Read(HTMLParser):
    """A page as a browser takes it: its tags with their attributes, and its text.

    Attributes:
        tags: Name and attributes in order; an end has no attributes.
        words: The texts between them.
        open: Elements that have begun and not ended.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None] | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a beginning."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Note an end, which must be that of the innermost element."""
        assert self.open.pop() == tag
        self.tags.append((tag, None))

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """Return all text."""
        return "".join(self.words)

    def values(self, *names: str) -> Iterator[str]:
        """Yield the values of attributes of these names."""
        for _, attributes in self.tags:
            for name, value in (attributes or {}).items():
                if name in names:
                    yield value or ""


def _named(report: Report, name: str) -> Report:
    """Return *report* with *name* wherever a name of the app stands."""
    frame = Frame(name, 1, name)

    def growth(old: Growth) -> Growth:
        site = old.site and frame
        return replace(old, endpoint=name, site=site, traceback=(frame,) if old.traceback else ())

    def finding(old: Finding) -> Finding:
        holder = Holder(path=name, kind=name)
        return replace(
            old,
            growth=growth(old.growth),
            evidence=(name,),
            advice=name,
            cause=name,
            holder=holder,
            types={name: 1.0},
        )

    return replace(
        report,
        service=name,
        version=name,
        worker=replace(report.worker, host=name),
        endpoints=tuple(growth(old) for old in report.endpoints),
        findings=tuple(finding(old) for old in report.findings),
        notes=(name,),
    )


def _diff(monitor: Any, name: str) -> Diff:
    frame = Frame(name, 1, name)
    growth = Growth(
        endpoint=name, visits=1, bytes=1, blocks=1, site=frame, traceback=(frame, frame)
    )
    unknown = replace(growth, site=None, traceback=())
    known = replace(growth, traceback=())
    diff: Diff = monitor.diff(monitor.kept[0].id, monitor.kept[-1].id)
    return replace(diff, endpoints=(unknown,), sites=(growth, known, unknown))


def _pages(report: Report, monitor: Any, name: str) -> Iterator[Read]:
    yield Read(report_page(_named(report, name), monitor.kept))
    yield Read(waiting_page(name, monitor.kept))
    yield Read(diff_page(_diff(monitor, name)))
    yield Read(failure_page(name))


anything = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=60)
nasty = st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x>', "' onload='", "&lt;b", "]]>"]
)


@given(name=anything | nasty)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_name_changes_the_structure(shop_report: Report, shop_monitor: Any, name: str) -> None:
    """Whatever the app's names are, the elements are those of a page with a plain name."""
    plain = _pages(shop_report, shop_monitor, "name")

    for shown, expected in zip(_pages(shop_report, shop_monitor, name), plain, strict=True):
        assert [tag for tag, _ in shown.tags] == [tag for tag, _ in expected.tags]
        assert [given and given.keys() for _, given in shown.tags] == [
            given and given.keys() for _, given in expected.tags
        ]
        assert not shown.open


@given(name=st.text(st.characters(categories=["L", "P", "S"]), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_visible_name_is_shown_as_it_is(
    shop_report: Report, shop_monitor: Any, name: str
) -> None:
    """Escaping takes nothing from a name that can be read."""
    for shown in _pages(shop_report, shop_monitor, name):
        assert name in shown.text


@pytest.mark.parametrize("sign", ["\x00", "\x1b", "\x85", "\u202e", "\u2066", "\u200f"])
def test_signs_that_hide_or_turn_names_are_shown_as_such(shop_report: Report, sign: str) -> None:
    """A name cannot pass for another by them."""
    page = report_page(_named(shop_report, f"a{sign}b"), ())

    assert sign not in page
    assert "a\N{REPLACEMENT CHARACTER}b" in page


def test_a_file_name_that_is_no_text_is_sent(
    ask: Callable[..., AdminResponse], shop_report: Report, shop_monitor: Any
) -> None:
    """Paths may hold bytes of any kind, which Python gives as lone surrogates."""
    shop_monitor.latest = _named(shop_report, "shop\udcff.py")

    assert "shop\\udcff.py" in ask("GET", "/").body.decode()


def test_the_page_needs_nothing_from_elsewhere(shop_report: Report, shop_monitor: Any) -> None:
    """Every address is relative, and nothing is in it that its policy forbids."""
    for shown in _pages(shop_report, shop_monitor, "name"):
        assert not {"script", "style", "img", "iframe", "base"} & {tag for tag, _ in shown.tags}
        assert not list(shown.values("style"))
        addresses = list(shown.values("href", "action", "src"))
        assert addresses
        for address in addresses:
            assert address.startswith(("./", "../", "diff?", "api/"))


def test_a_click_takes_a_snapshot(shop_report: Report) -> None:
    """The button is a plain form, which works without scripts."""
    shown = Read(report_page(shop_report, ()))

    assert ("form", {"method": "post", "action": "./api/snapshots"}) in shown.tags
    assert "Take a snapshot" in shown.text


def test_what_failed_below_the_page_leads_back_to_it() -> None:
    """The page of a failed click stands two levels deeper than the page."""
    shown = Read(failure_page("It failed."))

    assert set(shown.values("href")) >= {"../", "../style.css", "../api/report"}
    assert list(shown.values("action")) == ["../api/snapshots"]


def test_a_finding_says_where_how_much_and_why(shop_report: Report) -> None:
    """What a person needs first is there: endpoint, line, bytes per request, evidence."""
    shown = Read(report_page(shop_report, ()))

    for said in (
        "suspect",
        "POST /login",
        "shop/views.py:42",
        "1.1 KiB",
        "every traceback runs through the view of this endpoint",
        "flask/app.py:1511",
        "9f2c41d0b7aa",
        "tracing began 2 h after",
    ):
        assert said in shown.text


def test_what_asks_for_action_is_open_and_the_rest_folded(shop_report: Report) -> None:
    """Leaks and suspects stand first and unfolded; settled and the like behind a click."""
    suspect, settled = shop_report.findings
    leak = replace(suspect, verdict=Verdict.LEAK, fingerprint="000000000001")
    bounded = replace(settled, verdict=Verdict.BOUNDED, fingerprint="000000000002")
    report = replace(shop_report, findings=(leak, suspect, bounded, settled))

    shown = Read(report_page(report, ()))

    depth, found = 0, []
    for tag, attributes in shown.tags:
        if tag == "details":
            depth += -1 if attributes is None else 1
        if tag == "article" and attributes is not None:
            found.append((attributes["class"], depth))
    assert found == [
        ("card leak", 0),
        ("card suspect", 0),
        ("card bounded", 1),
        ("card settled", 1),
    ]


def test_a_report_without_findings_says_so(shop_report: Report) -> None:
    """Nothing found is said in words, not by an empty page."""
    shown = Read(report_page(replace(shop_report, findings=()), ()))

    assert "no leak is suspected" in shown.text
    assert not any(tag == "article" for tag, _ in shown.tags)


def test_a_long_table_is_folded_after_its_worst_rows(shop_report: Report) -> None:
    """Hundreds of endpoints do not bury what comes after them, and none is lost."""
    total = shop_report.endpoints[0]
    endpoints = tuple(replace(total, endpoint=f"GET /{n:03}") for n in range(ROWS_SHOWN + 5))

    page = report_page(replace(shop_report, endpoints=endpoints, findings=()), ())

    before, _, after = page.partition("<details>")
    assert f"GET /{ROWS_SHOWN - 1:03}<" in before
    assert f"GET /{ROWS_SHOWN:03}<" not in before
    assert all(f"GET /{n:03}<" in after for n in range(ROWS_SHOWN, ROWS_SHOWN + 5))
    assert "5 more" in Read(page).text


def test_a_short_table_is_not(shop_report: Report) -> None:
    """What fits is not hidden."""
    page = report_page(replace(shop_report, findings=()), ())

    assert "<details>" not in page


def test_what_is_empty_has_no_heading(shop_report: Report, shop_monitor: Any) -> None:
    """A table without rows is left out, and one with rows is not."""
    diff = shop_monitor.diff(shop_monitor.kept[0].id, shop_monitor.kept[1].id)
    nothing = Read(diff_page(replace(diff, endpoints=(), sites=())))
    something = Read(diff_page(diff))

    assert not {"Sites", "Endpoints"} & set(nothing.words)
    assert {"Sites", "Endpoints"} <= set(something.words)
    assert "Endpoints" not in Read(report_page(replace(shop_report, endpoints=()), ())).words


def test_snapshots_lead_to_their_growth(shop_report: Report, shop_monitor: Any) -> None:
    """Newest first, each with the growth since the one before and since the first."""
    shown = Read(report_page(shop_report, shop_monitor.kept))

    links = [address for address in shown.values("href") if address.startswith("diff?")]
    assert links == [
        "diff?from=000000000001&to=000000000003",
        "diff?from=000000000002&to=000000000003",
        "diff?from=000000000001&to=000000000002",
    ]


def test_the_first_snapshot_has_nothing_to_be_compared_with(
    shop_report: Report, shop_monitor: Any
) -> None:
    """One alone has no links, and an empty list no table."""
    one = Read(report_page(shop_report, shop_monitor.kept[:1]))
    none = Read(report_page(shop_report, ()))

    assert not [address for address in one.values("href") if address.startswith("diff?")]
    assert "Snapshots" in one.words
    assert "Snapshots" not in none.words


def test_what_is_not_known_is_left_out(shop_report: Report) -> None:
    """A growth without visits has no rate, and an unknown line is said to be unknown."""
    growth = Growth(endpoint="(background)", visits=0, bytes=4096, blocks=1)
    finding = replace(shop_report.findings[0], growth=growth, evidence=())

    shown = Read(report_page(replace(shop_report, findings=(finding,)), ()))

    assert " per request" not in shown.words
    assert "Traceback" not in shown.words
    assert "why" not in shown.words


def test_collections_are_shown_by_generation(shop_report: Report, shop_monitor: Any) -> None:
    """How many, how long, what they brought; without anybody who counts them there is no table."""
    shown = Read(report_page(shop_report, (), shop_monitor.pauses))
    place = shown.words.index("generation 0")
    assert shown.words[place : place + 6] == [
        "generation 0",
        "412",
        "0.041 s",
        "0.001 s",
        "31,000",
        "0",
    ]
    assert "Since 2026-11-22 12:00:00 UTC" in shown.words
    assert "Garbage collector" not in Read(report_page(shop_report, ())).words


def test_several_workers_have_a_table(shop_report: Report, shop_monitor: Any) -> None:
    """One alone is told of with the process."""
    (known,) = shop_monitor.peers
    gone = replace(known, worker=replace(known.worker, pid=72), alive=False, memory=None)
    shown = Read(report_page(shop_report, (), workers=(known, gone)))
    place = shown.words.index("web-1:72")

    assert shown.words[place + 1 : place + 6] == [
        "1.4.2",
        "gone since 2026-11-22 12:00:00 UTC",
        "12,000",
        "3",
        "0",
    ]
    assert shown.words[shown.words.index("web-1:71") + 2] == "alive"
    assert "Workers" not in Read(report_page(shop_report, (), workers=(known,))).words

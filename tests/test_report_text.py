"""The text report reads well at 100 columns, and says in words what is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from leakmw.records import Engine, Estimate, Finding, Frame, Growth, Holder, Memory, Verdict
from leakmw.report.terminal import width
from leakmw.report.text import text

if TYPE_CHECKING:
    from leakmw.records import Report


def _line(said: str, label: str) -> str:
    return next(line for line in said.splitlines() if line.split()[:1] == [label])


def _first(report: Report) -> Finding:
    return report.findings[0]


def _with(report: Report, finding: Finding) -> Report:
    return replace(report, findings=(finding,))


def test_a_finding_opens_with_what_to_know_first(shop_report: Report) -> None:
    """Verdict, endpoint and pace stand on its first line, the place on its second."""
    lines = text(shop_report).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("SUSPECT"))

    assert lines[start].split() == [
        "SUSPECT",
        "POST",
        "/login",
        "1.1",
        "KiB/request,",
        "45.5",
        "MiB/hour",
    ]
    assert len(lines[start]) == 100
    assert lines[start + 1].split(maxsplit=1) == ["at", "shop/views.py:42 in login"]


def test_the_growth_carries_its_interval(shop_report: Report) -> None:
    """An estimate is said with how sure it is."""
    expected = "4.3 MiB in 12,036 blocks over 4,012 requests; per request 1.07 KiB to 1.12 KiB"

    assert expected in _line(text(shop_report), "grew")


def test_a_growth_without_an_interval_claims_none(shop_report: Report) -> None:
    """One window alone gives an estimate and nothing more."""
    first = _first(shop_report)
    growth = replace(first.growth, bytes_per_request=Estimate(1123.9, None, None))
    said = text(_with(shop_report, replace(first, growth=growth)))

    assert _line(said, "grew").endswith("4.3 MiB in 12,036 blocks over 4,012 requests")
    assert "1.1 KiB/request" in said


def test_background_growth_has_no_rate_per_request(shop_report: Report) -> None:
    """What follows no request is said per hour."""
    first = _first(shop_report)
    growth = replace(first.growth, endpoint="(background)", visits=0, bytes_per_request=None)
    said = text(_with(shop_report, replace(first, growth=growth)))

    assert _line(said, "SUSPECT").split() == ["SUSPECT", "(background)", "45.5", "MiB/hour"]
    assert _line(said, "grew").endswith("4.3 MiB in 12,036 blocks")


def test_a_growth_that_stopped_has_no_pace(shop_report: Report) -> None:
    """A rate would say that it goes on."""
    line = _line(text(shop_report), "SETTLED")

    assert line.split() == ["SETTLED", "GET", "/price/{sku}", "264", "KiB"]


def test_the_traceback_leads_to_the_site(shop_report: Report) -> None:
    """Callers come first, the site last; what the site calls is left to the JSON report."""
    said = text(shop_report)
    callers = said[said.index("  through ") : said.index("  id ")].split("\n")

    assert [line[10:] for line in callers[:-1]] == [
        "flask/app.py:1511 in Flask.wsgi_app",
        "flask/app.py:902 in Flask.dispatch_request",
        "shop/limits.py:17 in limited",
        "shop/views.py:42 in login",
    ]


def test_a_traceback_of_the_site_alone_is_not_said_twice(shop_report: Report) -> None:
    """There is nothing to add to the place."""
    said = text(_with(shop_report, shop_report.findings[1]))

    assert "through" not in said


def test_a_finding_without_a_site_says_so(shop_report: Report) -> None:
    """Memory that no line of the app explains is not given a made-up one."""
    first = _first(shop_report)
    growth = replace(first.growth, site=None, traceback=())
    said = text(_with(shop_report, replace(first, growth=growth)))

    assert _line(said, "at") == "  at      no line of the app is known"


def test_what_was_looked_for_is_said(shop_report: Report) -> None:
    """Holder, types, cause, advice and confidence have a line each."""
    found = replace(
        _first(shop_report),
        verdict=Verdict.LEAK,
        confidence=0.98,
        cause="unbounded-collection",
        holder=Holder(path="shop.views.SESSIONS", kind="dict", length=4012, grows_per_request=1.0),
        types={"str": 0.3, "dict": 0.7},
        advice="Give it a size.",
    )
    lines = [line.strip() for line in text(_with(shop_report, found)).splitlines()]

    assert "held by shop.views.SESSIONS, dict, length 4,012, +1 per request" in lines
    assert "made of 70 % dict, 30 % str" in lines
    assert "cause   unbounded-collection" in lines
    assert "advice  Give it a size." in lines
    assert "sure    98 %" in lines


def test_what_was_not_looked_for_is_left_out(shop_report: Report) -> None:
    """No line claims a cause or a holder that nobody searched."""
    labels = {line.split(maxsplit=1)[0] for line in text(shop_report).splitlines() if line}

    assert labels.isdisjoint({"held", "made", "cause", "advice", "sure"})


def test_each_verdict_present_is_explained_once(shop_report: Report) -> None:
    """A reader need not know the words, nor read of verdicts that did not fall."""
    said = text(replace(shop_report, findings=(*shop_report.findings, _first(shop_report))))

    assert said.count("suspect: grows, and the evidence is too thin to say more") == 1
    assert "leak: " not in said


METERS = "RSS 212 MiB, Python heap 88 MiB, C heap in use 61 MiB, C heap free 12 MiB"


def test_the_head_says_who_when_and_what_it_cost(shop_report: Report) -> None:
    """The app, the worker, the window, the memory and leakmw's own cost stand on top."""
    assert text(shop_report).splitlines()[:9] == [
        "leakmw report on shop 1.4.2, 2026-11-22 12:00:00 UTC",
        "Found: 1 suspect, 1 settled.",
        "  worker  web-1, pid 71, up since 2026-11-22 10:00:00 UTC",
        "  window  12,012 requests in 5 min 40 s, until 2026-11-22 12:00:00 UTC",
        f"  memory  {METERS}, Python heap",
        "            free 6 MiB, of its own 190 MiB",
        "  limit   512 MiB (the container's), reached in 6 h 30 min (6 h to 7 h) at this pace",
        "  engine  tracemalloc, every block counted, tracebacks of at most 32 frames",
        "  cost    leakmw takes 0.6 % of the CPU time and 22 MiB of memory",
    ]


def test_what_is_not_known_is_said_in_words(shop_report: Report) -> None:
    """A meter that cannot be read shows no figure."""
    blind = replace(
        shop_report,
        service=None,
        version=None,
        memory=Memory(rss_bytes=1024),
        engine=Engine(name="sampling", frames=1, sample_bytes=65536),
    )
    lines = text(blind).splitlines()

    assert lines[0].startswith("leakmw report on this app, ")
    assert lines[4] == ("  memory  RSS 1 KiB; unknown: Python heap, C heap in use, C heap free")
    assert lines[5] == "  limit   none known"
    assert lines[6] == "  engine  sampling, one sample in 64 KiB, tracebacks of at most 1 frame"
    assert lines[7] == "  cost    leakmw takes unknown of the CPU time and unknown of memory"


def test_a_limit_that_is_not_approached_has_no_date(shop_report: Report) -> None:
    """Without a forecast the limit stands alone."""
    memory = replace(shop_report.memory, seconds_to_limit=None)

    shown = _line(text(replace(shop_report, memory=memory)), "limit")
    assert shown == "  limit   512 MiB (the container's)"


def test_nothing_found_is_said_clearly(shop_report: Report) -> None:
    """A flat app reads as such, with the requests that it is based on."""
    calm = replace(shop_report, findings=(), endpoints=shop_report.endpoints[2:])

    assert text(calm).splitlines()[1] == (
        "Nothing grew over 12,012 requests in 5 min 40 s. The memory of 1 endpoint is flat."
    )


def test_growth_too_unsteady_for_a_finding_is_not_called_flat(shop_report: Report) -> None:
    """Without a finding the endpoints may hold more than before all the same."""
    second = text(replace(shop_report, findings=())).splitlines()[1]

    assert second.startswith("No site grew steadily over 12,012 requests in 5 min 40 s")


def test_without_requests_nothing_is_claimed(shop_report: Report) -> None:
    """A window nobody visited proves nothing."""
    window = replace(shop_report.window, visits=0)
    empty = replace(shop_report, window=window, findings=(), endpoints=(), notes=())

    lines = text(empty).splitlines()

    assert lines[1] == "No request was served in this window, so nothing can be said yet."
    assert len(lines) == 9


def test_the_table_lists_endpoints_aligned(shop_report: Report) -> None:
    """Figures stand flush right below their titles."""
    lines = text(shop_report).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("endpoint"))

    assert lines[start : start + 5] == [
        "endpoint          requests   growth  per request         95 % interval",
        "POST /login          4,012  4.3 MiB      1.1 KiB  1.07 KiB to 1.12 KiB",
        "GET /price/{sku}     4,000  264 KiB       67.6 B        -20 B to 155 B",
        "GET /users/{id}      4,000   -400 B       -0.1 B       -0.4 B to 0.2 B",
        "(background)             0      0 B      unknown               unknown",
    ]


def test_a_long_table_is_cut_and_summed(shop_report: Report) -> None:
    """Hundreds of endpoints do not bury the findings, and nothing is dropped unsaid."""
    many = tuple(
        Growth(endpoint=f"GET /{number}", visits=1, bytes=1024, blocks=1) for number in range(25)
    )
    said = text(replace(shop_report, endpoints=many))

    assert "GET /19 " in said
    assert "GET /20 " not in said
    assert "and 5 endpoints more, 5 KiB together" in said


def test_a_long_path_gives_way_in_its_middle(shop_report: Report) -> None:
    """File name, line and function stay readable."""
    site = Frame(f"/srv/{'deeply/' * 30}views.py", 42, "login")
    first = _first(shop_report)
    line = _line(
        text(_with(shop_report, replace(first, growth=replace(first.growth, site=site)))), "at"
    )

    assert line.startswith("  at      /srv/deeply/")
    assert "…" in line
    assert line.endswith("deeply/views.py:42 in login")


def test_wide_names_keep_the_figures_in_their_columns(shop_report: Report) -> None:
    """A character that takes two columns is counted as two."""
    wide = replace(shop_report.endpoints[0], endpoint="GET /商品/詳細")
    lines = text(replace(shop_report, findings=(), endpoints=(wide,))).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("endpoint"))

    assert len(lines[start + 1]) + len("商品詳細") == len(lines[start])


@pytest.mark.parametrize(
    "name", ["GET /\x1b[2J\x1b]0;owned\x07", "GET /\r\nFound: 0", "GET /\u202eevil"]
)
def test_a_name_cannot_drive_the_terminal(shop_report: Report, name: str) -> None:
    """Escape sequences, line breaks and reordering marks are shown, not obeyed."""
    hostile = replace(_first(shop_report).growth, endpoint=name)
    finding = replace(_first(shop_report), growth=hostile, evidence=(name,), advice=name)
    said = text(replace(shop_report, findings=(finding,), endpoints=(hostile,), notes=(name,)))

    assert said.replace("\n", "").isprintable()
    assert name.encode("unicode_escape").decode() in said
    assert not any(line.startswith("Found: 0") for line in said.splitlines())


def test_several_workers_are_listed(shop_report: Report, shop_monitor: Any) -> None:
    """One alone is told of in the head."""
    (known,) = shop_monitor.peers
    gone = replace(known, worker=replace(known.worker, pid=72), alive=False, memory=None)
    said = text(shop_report, (known, gone))

    assert _line(said, "web-1,").split()[2:] == [
        "71", "12,000", "212", "MiB", "3", "0", "alive"
    ]  # fmt: skip
    assert "web-1, pid 72    12,000  unknown          3       0  gone since 2026-11-22" in said
    assert "pid 71    12,000" not in text(shop_report, (known,))


@pytest.mark.parametrize("columns", [1, 40, 41, 60, 100, 200])
def test_it_is_as_wide_as_the_terminal(
    shop_report: Report, shop_monitor: Any, columns: int
) -> None:
    """From 40 columns on, with nothing left out that tells what leaks, and where."""
    (known,) = shop_monitor.peers
    lines = text(shop_report, (known, known), columns).splitlines()

    assert max(map(width, lines)) <= max(columns, 40)
    said = " ".join(" ".join(lines).split())
    for told in ("SUSPECT", "POST /login", "1.1 KiB/request", "views.py:42 in login", "web-1"):
        assert told in said

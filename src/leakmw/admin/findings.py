"""The findings as the page shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakmw.admin.markup import Markup, element, join
from leakmw.records import Verdict
from leakmw.report import humane, wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakmw.records import Estimate, Finding, Frame, Traceback

_GROWING = frozenset({Verdict.LEAK, Verdict.SUSPECT})


def findings(found: Sequence[Finding]) -> Markup:
    """Return the findings in their order, those folded that ask for nothing to be done."""
    folded = [verdict for verdict in Verdict if verdict not in _GROWING]
    return join(
        *(_card(finding) for finding in found if finding.verdict in _GROWING),
        *(
            _folded([finding for finding in found if finding.verdict is verdict], verdict)
            for verdict in folded
        ),
    )


def _folded(found: Sequence[Finding], verdict: Verdict) -> Markup | None:
    if not found:
        return None
    title = join(_badge(verdict), f" {len(found):,}: {wording.MEANINGS[verdict]}")
    return fold(title, *map(_card, found))


def _card(finding: Finding) -> Markup:
    growth = finding.growth
    return element(
        "article",
        element(
            "header",
            _badge(finding.verdict),
            element("h3", element("code", growth.endpoint)),
            _rate(growth.bytes_per_request),
        ),
        element("p", place(growth.site), class_="site") if growth.site else None,
        labelled(_sentences(finding)),
        fold("Traceback", traceback(growth.traceback)) if growth.traceback else None,
        class_=f"card {finding.verdict}",
        id=finding.fingerprint,
    )


def _sentences(finding: Finding) -> wording.Labelled:
    evidence = join(*(element("p", sentence) for sentence in finding.evidence))
    return (
        ("grew", wording.grown(finding.growth)),
        *((("why", evidence),) if evidence else ()),
        *wording.details(finding),
        ("id", finding.fingerprint),
    )


def _badge(verdict: Verdict) -> Markup:
    return element("span", verdict, class_=f"badge {verdict}", title=wording.MEANINGS[verdict])


def _rate(rate: Estimate | None) -> Markup | None:
    if rate is None:
        return None
    return element(
        "p", element("strong", humane.size(rate.estimate)), " per request", class_="rate"
    )


def labelled(sentences: wording.Labelled) -> Markup:
    """Return sentences, each behind its label."""
    rows = (
        element("div", element("dt", label), element("dd", sentence))
        for label, sentence in sentences
    )
    return element("dl", *rows)


def traceback(frames: Traceback) -> Markup:
    """Return the frames, outermost first as Python prints them."""
    return element("ol", *(element("li", place(frame)) for frame in frames), class_="traceback")


def place(frame: Frame) -> Markup:
    """Return file, line and function of *frame*."""
    where = element("code", f"{frame.file}:{frame.line}")
    return join(where, *(" in ", element("code", frame.function)) if frame.function else ())


def fold(summary: str, *content: str | None) -> Markup:
    """Return *content* folded away under *summary*."""
    return element("details", element("summary", summary), *content)

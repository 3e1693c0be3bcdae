"""``leakmw gc``: how the garbage collector does; collect, or look for garbage without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.report import humane
from leakmw.report.terminal import wrap
from leakmw.report.text import columned, labelled
from leakmw.shell import asking, sources
from leakmw.shell.ending import FINE, STATUSES
from leakmw.shell.screen import Screen

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping, Sequence

LISTED = 10
"""Groups and endpoints that are listed; the JSON has all that were told."""


def offer(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "gc",
        help="say how the garbage collector does; collect, or look for garbage",
        description="Say how the garbage collector of a worker does. --collect runs finalizers "
        f"of the app; --inspect looks at a copy of the process and runs none. {STATUSES}",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--collect", action="store_true", help="collect, and say what came free")
    action.add_argument(
        "--inspect", action="store_true", help="find cyclic garbage without collecting it"
    )
    sources.offer_worker(parser, "of this worker instead of the one that answers")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    sources.offer(parser)
    parser.set_defaults(command=run, name="gc")


def run(options: Namespace) -> int:
    """Ask, and print the answer."""
    screen = Screen()
    wanted = "collect" if options.collect else "inspect" if options.inspect else "state"
    method, path, said = _QUESTIONS[wanted]
    source = sources.chosen(options)
    document = asking.asked(source, method, path, sources.worker(options))
    if options.json:
        screen.json(document)
    else:
        screen.say(*asking.read(document, lambda answer: said(answer, screen.columns)))
    return FINE


def _state(state: Any, columns: int) -> list[str]:
    counts = zip(state["counts"], state["thresholds"], strict=False)
    garbage = state["garbage"]
    lines = [
        f"The collector is {'on' if state['enabled'] else 'OFF'}.",
        *labelled(
            (
                ("due", ", ".join(f"{count:,} of {limit:,}" for count, limit in counts)),
                ("frozen", humane.count(state["frozen_objects"], "object")),
                ("debug", ", ".join(state["debug"]) or "no flag set"),
                ("garbage", f"gc.garbage holds {humane.count(garbage['length'], 'object')}"),
            ),
            columns,
        ),
    ]
    if state["pauses"] is not None:
        lines += ["", *_pauses(state["pauses"], columns)]
    if garbage["groups"]:
        lines += ["", *_groups(garbage["groups"], columns)]
    return lines


def _pauses(pauses: Any, columns: int) -> list[str]:
    rows = [(f"generation {one['generation']}", [one]) for one in pauses["generations"]]
    rows += [
        (one["endpoint"] or "(no name yet)", one["generations"])
        for one in (pauses["endpoints"] or [])[:LISTED]
    ]
    if not rows:
        return ["No collection has run so far."]
    figures = [
        ["collections", *(f"{_sum(ones, 'collections'):,}" for _, ones in rows)],
        ["time", *(humane.duration(_sum(ones, "seconds")) for _, ones in rows)],
        ["longest", *(humane.duration(_longest(ones)) for _, ones in rows)],
        ["freed", *(f"{_sum(ones, 'collected'):,}" for _, ones in rows)],
        ["not freed", *(f"{_sum(ones, 'uncollectable'):,}" for _, ones in rows)],
    ]
    return columned(["collections of", *(name for name, _ in rows)], figures, columns)


def _sum(generations: Sequence[Any], name: str) -> Any:
    return sum(one[name] for one in generations)


def _longest(generations: Sequence[Any]) -> float:
    return max((one["longest_seconds"] for one in generations), default=0.0)


def _groups(groups: Sequence[Any], columns: int) -> list[str]:
    shown = groups[:LISTED]
    figures = [
        ["bytes", *(humane.size(one["bytes"]) for one in shown)],
        ["objects", *(f"{one['count']:,}" for one in shown)],
        ["born at", *(_place(one["born_at"]) for one in shown)],
    ]
    return columned(["in gc.garbage", *(one["type"] for one in shown)], figures, columns)


def _place(born: Any) -> str:
    return f"{born['file']}:{born['line']}" if born else humane.UNKNOWN


def _collected(answer: Any, columns: int) -> list[str]:
    size = answer["bytes"]
    taken = "" if size is None else f", {humane.size(size)},"
    rss = answer["rss_bytes"]
    said = (
        f"Collected {humane.count(answer['unreachable_objects'], 'object')}{taken} in "
        f"{humane.duration(answer['seconds'])}; {answer['freed_objects']:,} of them are gone."
    )
    lines = wrap(said, columns)
    if answer["missing"]:
        lines += wrap(f"How many bytes that is, is not known: {answer['missing']}", columns)
    figures = [
        ["found", *(f"{one['unreachable_objects']:,}" for one in answer["generations"])],
        ["freed", *(f"{one['freed_objects']:,}" for one in answer["generations"])],
        ["bytes", *(humane.size(one["bytes"]) for one in answer["generations"])],
        ["time", *(humane.duration(one["seconds"]) for one in answer["generations"])],
    ]
    names = [f"generation {one['generation']}" for one in answer["generations"]]
    return [
        *lines,
        f"RSS {humane.size(rss['before'])} before, {humane.size(rss['after'])} after.",
        "",
        *columned(["", *names], figures, columns),
    ]


def _inspected(answer: Any, columns: int) -> list[str]:
    lines = wrap(
        f"{humane.count(answer['objects'], 'object')} of garbage, "
        f"{humane.size(answer['bytes'])}, seen in {humane.duration(answer['seconds'])}, the "
        f"process standing still for {humane.duration(answer['pause_seconds'])}.",
        columns,
    )
    for group in answer["groups"][:LISTED]:
        made = ", ".join(f"{one['count']:,} {one['type']}" for one in group["types"])
        left = group["types_left_out"]
        facts = (
            ("made of", made + (f" and {humane.count(left, 'type')} more" if left else "")),
            ("size", humane.size(group["bytes"])),
            ("holds", humane.count(group["hanging_objects"], "object") + " besides"),
            ("__del__", ", ".join(group["finalizers"])),
            ("stuck", ", ".join(group["uncollectable"] or ())),
            ("frozen", f"{group['frozen_objects']:,}" if group["frozen_objects"] else ""),
            ("born at", ", ".join(_birth(one) for one in group["born_at"])),
        )
        lines += ["", humane.count(group["cycles"], "cycle")]
        lines += labelled(tuple(fact for fact in facts if fact[1]), columns)
    rest = len(answer["groups"]) - LISTED + answer["groups_left_out"]
    return lines + (["", f"and {humane.count(rest, 'group')} more"] if rest > 0 else [])


def _birth(born: Any) -> str:
    return f"{_place(born)} ({born['count']:,})"


_QUESTIONS: Mapping[str, tuple[str, str, Callable[[Any, int], list[str]]]] = {
    "state": ("GET", "api/gc", _state),
    "collect": ("POST", "api/gc/collect", _collected),
    "inspect": ("POST", "api/gc/inspect", _inspected),
}

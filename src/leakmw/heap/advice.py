"""What a senior colleague would say, with the app's own names in it."""

from __future__ import annotations

from typing import NamedTuple


class Subject(NamedTuple):
    """What the advice is about.

    Attributes:
        endpoint: Whose requests it grows with.
        site: Where it is born: ``shop/views.py:42``.
        path: Name of the holder.
        entry: Type of the holder's entries; empty where it is not known.
        length: Of the holder.
    """

    endpoint: str
    site: str
    path: str
    entry: str
    length: int | None


_ADVICE = {
    "unbounded-collection": (
        "Give {path} a bound: remove an entry when its request, session or user is done, or keep "
        "the newest only, by a deque with maxlen or an OrderedDict and popitem(last=False). What "
        "need not outlive its user belongs into a weakref.WeakValueDictionary."
    ),
    "long-lived-holder": (
        "{path} belongs to an object that outlives the request. Keep what is of one request in "
        "local variables or on the request, and let {path} forget what {site} adds: by a deque "
        "with maxlen, a removal when it was handled, or a consumer that really empties it."
    ),
    "unbounded-cache": (
        "{path} has no size. Write @lru_cache(maxsize=1024) instead of @cache or maxsize=None; on "
        "a method it also keeps every self alive: cache a function of plain values, or use "
        "functools.cached_property. A cache of your own needs a size or a time to live."
    ),
    "reference-cycle": (
        "Objects born at {site} refer to each other in circles and wait for the collector. Python "
        "collects them, those with __del__ too, unless it is off (gc.disable), frozen (gc.freeze) "
        "or rare (gc.set_threshold): look for these. Better break the circle: make the reference "
        "back to the parent a weakref.ref, and close explicitly instead of in __del__. What "
        "__del__ puts into gc.garbage stays there until it is taken out."
    ),
    "suspended-generator": (
        "A generator left half-way keeps its frame and all variables in it. Exhaust or close it "
        "(by contextlib.closing, or aclosing for async ones), and do not keep it in {path} "
        "between requests: keep the position instead, and start anew from there."
    ),
    "native-memory": (
        "The entries of {path} keep memory of an extension alive. A view of an array keeps all of "
        "the array: store array[a:b].copy() and let the large one go; close or reuse what wraps "
        "memory of a C library."
    ),
    "pending-task": (
        "Tasks and timers kept by {path} never end. Give what they wait for a timeout "
        "(asyncio.timeout), cancel them when the client is gone, cancel the handle of call_later, "
        "and use asyncio.TaskGroup so that none outlives its request."
    ),
    "thread": (
        "Threads started for {endpoint} never end. Share one ThreadPoolExecutor for the process, "
        "or use it in a with statement, and make what a thread waits for come or time out."
    ),
    "callback-registry": (
        "{path} is added to with each request and never taken from. Register once, at the start "
        "of the app; or unregister when the request is done (removeHandler, atexit.unregister, "
        "remove); or let the registry hold a weakref.WeakMethod."
    ),
    "held-traceback": (
        "An exception kept in {path} keeps its traceback, all frames on it and their variables. "
        "Keep str(error) or traceback.format_exception(error), or error.with_traceback(None)."
    ),
    "growing-types": (
        "A class is made for each request at {site}, and {path} keeps it. Make classes once, at "
        "import; or cache them by what they are made from; or key a WeakKeyDictionary by them."
    ),
    "debug-log": (
        "{path} is a record for debugging that was left on. Switch debug mode off in production "
        "(DEBUG = False, echo=False, record_queries = False), or clear it after each request."
    ),
    "unknown": (
        "What keeps it is not known. Look at the traceback of {site} for what stores the object, "
        "and ask again after more traffic: POST api/heap lists the containers that grow."
    ),
}
"""By cause."""


def advice(cause: str, subject: Subject) -> str:
    """Return what to do about a mistake."""
    said = _ADVICE[cause].format_map(subject._asdict())
    grown = f" It has {subject.length:,} entries now." if subject.length else ""
    return said + grown if "{path}" in _ADVICE[cause] else said

"""The description of the admin endpoint for programs: OpenAPI 3.1."""

from __future__ import annotations

import json
from typing import Any

from leakmw.admin.access import COOKIE
from leakmw.admin.exports import MAX_SECONDS, PROFILE_FORMATS
from leakmw.admin.messages import BYTES, CSS, FORM, HTML, JSON, MARKDOWN, OPENMETRICS, TEXT
from leakmw.report.document import schema

Document = dict[str, Any]

_ERRORS = {
    400: "The query is wrong",
    403: "Sent by the page of another site",
    404: "Not here, or not yet",
    405: "No such method here",
    409: "Not possible in this state",
    413: "The body is too large",
    415: "The body is of an unexpected type",
    429: "Too many changes in a short time",
    501: "A library that this needs is not installed",
    503: "Not possible now",
}

_INFO = {
    "title": "leakmw",
    "version": "1",
    "description": (
        "Which endpoint of this worker leaks memory, and from which line. A request without the "
        "token is not answered here but by the app. Each worker answers for itself alone."
    ),
}


def description(root: str) -> Document:
    """Return the description of what answers below *root*, the page's path without its slash."""
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": root}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
            "schemas": _schemas(),
        },
    }


def _paths() -> Document:
    page = _read("The page; the report alone as text", _strings(HTML, TEXT, MARKDOWN))
    report = _read("The latest report", _json("report"), 400, 404)
    alone = {"parameters": [_WORKER]}
    workers = _read("The workers of this app on this host", _json("workers"))
    listed = _read("The snapshots kept, oldest first", _json("snapshots"))
    taken = _change("Take a snapshot", _response("Taken", _json("snapshot")), 201, 400, 404, 503)
    taken["responses"]["303"] = {"description": "Taken; back to the page that asked"}
    one = _read("One of the snapshots", _json("snapshot"), 404)
    described = _read("This description", {JSON: {"schema": {"type": "object"}}})
    collected = _change("Collect garbage", _response("Collected", _json("collection")), 200, 409)
    found = _response("Looked", _json("inspection"))
    inspected = _change("Find cyclic garbage without collecting it", found, 200, 503)
    looked = _response("Looked", _json("holdings"))
    held = _change("Walk the heap for what holds what grows", looked, 200, 503)
    return {
        "/": {"get": page},
        "/diff": {"get": _read("Growth as a page", _strings(HTML), 400, 404, 409)} | _COMPARED,
        "/style.css": {"get": _read("The style of the pages", _strings(CSS))},
        "/api/report": {"get": report | alone},
        "/api/workers": {"get": workers},
        "/api/snapshots": {"get": listed, "post": taken | alone},
        "/api/snapshots/{id}": {"get": one, "parameters": [_parameter("id", "path")]},
        "/api/diff": {"get": _read("Growth between two", _json("diff"), 400, 404, 409)}
        | _COMPARED,
        "/api/gc": {"get": _read("The garbage collector and what it left", _json("gc"))},
        "/api/gc/collect": {"post": collected},
        "/api/gc/inspect": {"post": inspected},
        "/api/heap": {"post": held},
        "/api/openapi.json": {"get": described},
        "/metrics": {"get": _read("Metrics for Prometheus", _strings(TEXT, OPENMETRICS), 501)},
        **_profiles(),
    }


def _profiles() -> Document:
    """Describe what shows memory by traceback."""
    missing = (400, 404, 409, 503)
    binary: Document = {BYTES: {"schema": {"type": "string", "format": "binary"}}}
    drawn = _json("speedscope") | _strings(TEXT) | binary
    profile = _read("Live memory by traceback", drawn, *missing)
    profile["parameters"] = [_choice("format", *PROFILE_FORMATS), _SECONDS_AGO]
    pprof = _read("Live memory for pprof", binary | _strings(TEXT), *missing)
    pprof["parameters"] = [_choice("debug", 0, 1), _choice("gc", 0, 1), _SECONDS_AGO]
    return {
        "/api/profile": {"get": profile},
        "/debug/pprof/": {"get": _read("What is below", _strings(TEXT))},
        "/debug/pprof/heap": {"get": pprof},
        "/debug/pprof/allocs": {"get": pprof},
    }


def _choice(name: str, *values: str | int) -> Document:
    return {"name": name, "in": "query", "required": False, "schema": {"enum": list(values)}}


def _read(summary: str, content: Document, *errors: int) -> Document:
    """Describe a GET."""
    return {"summary": summary, "responses": _responses(200, _response("OK", content), errors)}


def _change(summary: str, answer: Document, status: int, *errors: int) -> Document:
    """Describe a POST; it needs no body, and looks at none."""
    return {
        "summary": summary,
        "requestBody": {"content": {JSON: {"schema": {}}, FORM: {"schema": {}}}},
        "responses": _responses(status, answer, (403, 413, 415, 429, *errors)),
    }


def _responses(status: int, answer: Document, errors: tuple[int, ...]) -> Document:
    refused = {
        str(error): _response(_ERRORS[error], _json("error")) for error in sorted((405, *errors))
    }
    return {str(status): answer} | refused


def _response(meaning: str, content: Document) -> Document:
    return {"description": meaning, "content": content}


def _json(name: str) -> Document:
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _strings(*media_types: str) -> Document:
    return {media_type: {"schema": {"type": "string"}} for media_type in media_types}


def _parameter(name: str, where: str) -> Document:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": where, "required": True, "schema": schema}


_SECONDS_AGO = {
    "name": "seconds",
    "in": "query",
    "required": False,
    "description": "Growth since the snapshot of so long ago, instead of what is alive.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS},
}

_WORKER: Document = {
    "name": "worker",
    "in": "query",
    "description": "Of this worker alone: pid, or host:pid; all is the same as none.",
    "schema": {"type": "string", "pattern": "^(all|([0-9A-Za-z_.-]{1,253}:)?[1-9][0-9]{0,9})$"},
}

_COMPARED = {"parameters": [_parameter("from", "query"), _parameter("to", "query")]}


def _schemas() -> Document:
    """Return the published schemas of the report, and those of what only the admin says."""
    published: Document = json.loads(
        json.dumps(schema()).replace("#/$defs/", "#/components/schemas/")
    )
    shared: Document = published.pop("$defs")
    for key in ("$schema", "$id"):
        published.pop(key)
    return shared | {"report": published} | _OWN


def _object(**properties: Document) -> Document:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: Document) -> Document:
    return {"type": "array", "items": items}


def _or_null(name: str) -> Document:
    return {"oneOf": [{"$ref": f"#/components/schemas/{name}"}, {"type": "null"}]}


_COUNT: Document = {"type": "integer", "minimum": 0}
_TEXT: Document = {"type": "string"}
_TEXT_OBJECT = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
_SECONDS = {"type": "number", "minimum": 0}
_BYTES = {"type": ["integer", "null"], "minimum": 0}
_SPAN = {"type": ["number", "null"], "minimum": 0}
_NAME: Document = {"type": ["string", "null"]}
_PLACE: Document = {"file": _TEXT, "line": _COUNT, "function": {"type": ["string", "null"]}}
_TYPES = _list(_object(type=_TEXT, count=_COUNT))

_GROUP = _object(
    type=_TEXT,
    born_at={"oneOf": [_object(**_PLACE), {"type": "null", "description": "No tracer saw it."}]},
    count=_COUNT,
    bytes=_COUNT | {"description": "Their own, without what they refer to."},
    referrers=_TYPES
    | {
        "type": ["array", "null"],
        "description": "Objects of which types refer to one of this type; null if not known.",
    },
)

_PAUSES = _list(
    _object(
        generation=_COUNT,
        collections=_COUNT,
        seconds=_SECONDS,
        longest_seconds=_SECONDS,
        collected=_COUNT,
        uncollectable=_COUNT,
    )
)

_CYCLES = _object(
    types=_TYPES | {"description": "What the cycles are made of, most first."},
    types_left_out=_COUNT,
    cycles=_COUNT,
    objects=_COUNT | {"description": "In the cycles."},
    hanging_objects=_COUNT | {"description": "That only these cycles keep, and are in none."},
    bytes=_COUNT | {"description": "Of all these, and of what nothing else refers to."},
    finalizers=_list(_TEXT) | {"description": "Types among them that have a __del__."},
    uncollectable=_list(_TEXT)
    | {
        "type": ["array", "null"],
        "description": "Types in the cycles whose objects no collection frees; null if not known.",
    },
    frozen_objects=_COUNT | {"description": "That gc.freeze() has put aside: none is collected."},
    kept_objects=_COUNT | {"description": "That gc.garbage holds."},
    born_at=_list(_object(**_PLACE, count=_COUNT))
    | {"description": "Where objects in the cycles were born, as far as a tracer saw them."},
)

_COLLECTED: Document = {
    "unreachable_objects": _COUNT | {"description": "Found by the collector."},
    "freed_objects": _COUNT | {"description": "Those of them that are gone."},
    "bytes": _BYTES | {"description": "Of what was found just before; null if not known."},
}

_CONTAINER = _object(
    path=_TEXT,
    kind=_TEXT,
    length=_COUNT,
    cap=_COUNT | {"type": ["integer", "null"]},
    grown={"type": ["integer", "null"], "description": "Entries more than at the last look."},
)

_OWN = {
    "error": _object(error=_object(code=_TEXT, message=_TEXT)),
    "workers": _object(
        workers=_list(
            _object(
                worker={"$ref": "#/components/schemas/worker"},
                alive={"type": "boolean"},
                seen_at={"type": "string", "format": "date-time"},
                visits=_COUNT | {"description": "Finished since it started."},
                snapshots=_COUNT,
                errors=_COUNT | {"description": "Of leakmw's own in it."},
                service=_NAME,
                version=_NAME,
                engine=_or_null("engine"),
                memory=_or_null("memory"),
                snapshot_seconds=_SPAN | {"description": "What the latest snapshot took."},
                pause_seconds=_SPAN | {"description": "How long it stood still for that."},
            )
        )
        | {"description": "Those alive first."},
    ),
    "snapshots": _object(snapshots=_list({"$ref": "#/components/schemas/snapshot"})),
    "speedscope": _object(
        **{"$schema": _TEXT},
        exporter=_TEXT,
        name=_TEXT,
        shared=_object(frames=_list(_TEXT_OBJECT)),
        profiles=_list(
            _object(
                type={"const": "sampled"},
                name=_TEXT,
                unit=_TEXT,
                startValue=_COUNT,
                endValue=_COUNT,
                samples=_list(_list(_COUNT)),
                weights=_list(_COUNT),
            )
        ),
    ),
    "gc": _object(
        enabled={"type": "boolean"},
        counts=_list(_COUNT),
        thresholds=_list(_COUNT),
        stats=_list(_object(collections=_COUNT, collected=_COUNT, uncollectable=_COUNT)),
        debug=_list(_TEXT) | {"description": "Names of the debugging flags that are set."},
        frozen_objects=_COUNT,
        pauses=_object(
            since={"type": "string", "format": "date-time"},
            generations=_PAUSES,
            endpoints=_list(_object(endpoint={"type": ["string", "null"]}, generations=_PAUSES))
            | {
                "type": ["array", "null"],
                "description": "Most seconds first; null where visits are not followed.",
            },
            endpoints_left_out=_COUNT,
        )
        | {"type": ["object", "null"], "description": "null where collections are not counted."},
        garbage=_object(
            length=_COUNT | {"description": "Objects in gc.garbage."},
            examined=_COUNT | {"description": "Objects of it that were looked at."},
            groups=_list(_GROUP) | {"description": "Most bytes first."},
            groups_left_out=_COUNT,
            missing={"type": ["string", "null"], "description": "Why referrers are not known."},
        ),
    ),
    "collection": _object(
        **_COLLECTED,
        missing={"type": ["string", "null"], "description": "Why the bytes are not known."},
        generations=_list(_object(generation=_COUNT, **_COLLECTED, seconds=_SECONDS)),
        rss_bytes=_object(before=_BYTES, after=_BYTES),
        seconds=_SECONDS,
    ),
    "inspection": _object(
        objects=_COUNT | {"description": "That nothing alive refers to."},
        bytes=_COUNT,
        groups=_list(_CYCLES) | {"description": "Cycles by the types in them, most bytes first."},
        groups_left_out=_COUNT,
        cycles_left_out=_COUNT,
        seconds=_SECONDS,
        pause_seconds=_SECONDS | {"description": "How long the process stood still."},
    ),
    "holdings": _object(
        objects=_COUNT | {"description": "That the collector walks through."},
        containers=_list(_CONTAINER)
        | {"description": "Those that grew most since the last look, then the longest."},
        types=_list(_object(type=_TEXT, count=_COUNT, bytes=_COUNT)),
        findings=_list({"$ref": "#/components/schemas/finding"})
        | {"description": "What grows, with what holds it."},
        seconds=_SECONDS,
        pause_seconds=_SECONDS
        | {
            "type": ["number", "null"],
            "description": "How long the process stood still; null where it cannot be forked.",
        },
    ),
}

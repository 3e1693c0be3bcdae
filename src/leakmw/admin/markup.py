"""HTML elements whose content is escaped unless it is an element itself."""

from __future__ import annotations

from html import escape

_VOID = frozenset({"input", "link", "meta"})

# Control characters cannot stand in HTML, and those that turn the reading direction would let a
# name pass for another one.
_UNSHOWABLE = dict.fromkeys(
    [
        *(code for code in (*range(32), *range(127, 160)) if code not in {9, 10}),
        *range(0x200E, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    ],
    "\N{REPLACEMENT CHARACTER}",
)


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(content: str) -> Markup:
    """Return *content* as HTML that shows it and does nothing else."""
    if isinstance(content, Markup):
        return content
    return Markup(escape(content.translate(_UNSHOWABLE)))


def join(*children: str | None) -> Markup:
    """Return the children one after the other, leaving out those that are ``None``."""
    return Markup("".join(text(child) for child in children if child is not None))


def element(name: str, /, *children: str | None, **attributes: str | None) -> Markup:
    """Return one element.

    Args:
        name: Its name.

        children: Elements, or text to be escaped; ``None`` is left out.

        attributes: By name, an underscore at its end dropped (``class_``); ``None`` is left out
            and an empty value stands without one.
    """
    start = name + "".join(
        f' {key.rstrip("_")}="{text(value)}"' if value else f" {key}"
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{start}>" if name in _VOID else f"<{start}>{join(*children)}</{name}>")

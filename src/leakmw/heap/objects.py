"""Names and sizes of the app's objects, by methods of CPython alone.

A class of the app may have its own ``__sizeof__``, and its metaclass its own ``__getattribute__``.
"""

from __future__ import annotations

from types import MethodDescriptorType

_NAME_LIMIT = 200

# The getters of ``type`` itself, which no metaclass can override.
_name_of = type.__dict__["__qualname__"].__get__
_module_of = type.__dict__["__module__"].__get__
_bases_of = type.__dict__["__mro__"].__get__
_members_of = type.__dict__["__dict__"].__get__


def full_name(kind: type) -> str:
    """Return module and qualified name of a type, without the module where it is a builtin."""
    try:
        module = _module_of(kind)
    except AttributeError:  # made by type() where no __name__ was in sight
        module = None
    # A class may call its module anything, a property included.
    where = f"{module}." if type(module) is str and module != "builtins" else ""
    return f"{where}{_name_of(kind)}"[:_NAME_LIMIT]


def size_of(thing: object) -> int:
    """Return the object's own bytes as the nearest ``__sizeof__`` written in C counts them."""
    candidates = ((base, _members_of(base).get("__sizeof__")) for base in _bases_of(type(thing)))
    sizeof = next(
        method
        for base, method in candidates
        if type(method) is MethodDescriptorType and method.__objclass__ is base
    )
    size: int = sizeof(thing)
    return size

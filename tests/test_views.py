"""Where the code of a view stands."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest
from django.views import View as DjangoView
from flask.views import MethodView

from leakmw.records import Span
from leakmw.visits.views import MAX_SPANS, spans

if TYPE_CHECKING:
    from collections.abc import Callable


def lines(code: Callable[..., Any]) -> Span:
    """Return the lines of a function as its source has them."""
    source, first = inspect.getsourcelines(code)
    return Span(__file__, first, first + len(source) - 1)


def plain(request: object) -> list[int]:
    """Serve with code inside code."""
    return sorted(
        [1, 2],
        key=lambda number: -number,  # the last code is that of what is nested
    )


async def asynchronous(request: object) -> None:
    """Serve without waiting."""


def decorated(view: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as everybody does."""

    @functools.wraps(view)
    def wrapper(*args: Any) -> Any:
        return view(*args)

    return wrapper


class Counted:
    """A decorator that is a class."""

    def __init__(self, view: Callable[..., Any]) -> None:
        functools.update_wrapper(self, view)
        self.view = view

    def __call__(self, request: object) -> object:
        """Serve."""
        return self.view(request)


class Base:
    """What views have in common."""

    def dispatch(self) -> None:
        """Find the method."""


class Page(Base):
    """A class-based view."""

    def get(self) -> None:
        """Serve."""

    @classmethod
    def made(cls) -> None:
        """Serve."""

    @staticmethod
    def helper() -> None:
        """Help."""


class FlaskPage(MethodView):
    """A class-based view of Flask."""

    def get(self) -> str:
        """Serve."""
        return ""


class DjangoPage(DjangoView):  # type: ignore[misc]  # Django has no types
    """A class-based view of Django."""

    def get(self, request: object) -> None:
        """Serve."""


@pytest.mark.parametrize("view", [plain, asynchronous])
def test_a_function_stands_where_it_stands(view: Callable[..., Any]) -> None:
    """With all that is nested in it; its last line is code, so a bracket may follow."""
    (span,) = spans(view)
    wanted = lines(view)
    assert span[:2] == wanted[:2]
    assert wanted.last - 1 <= span.last <= wanted.last


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(decorated(plain), id="decorated"),
        pytest.param(decorated(decorated(plain)), id="decorated twice"),
        pytest.param(functools.partial(plain, 1), id="partial"),
        pytest.param(functools.partial(decorated(plain)), id="partial of decorated"),
        pytest.param(functools.lru_cache(plain), id="cached"),
        pytest.param(Counted(plain), id="callable object"),
        pytest.param(decorated(Counted(plain)), id="decorated callable object"),
    ],
)
def test_what_wraps_a_view_is_looked_through(view: object) -> None:
    """Decorators, partials, caches, and classes that decorate."""
    assert spans(plain)[0] in spans(view)


def test_the_decorators_code_counts_too() -> None:
    """Memory may be kept there as well."""
    assert len(spans(decorated(plain))) == 2
    assert spans(Counted.__call__)[0] in spans(Counted(plain))


@pytest.mark.parametrize("view", [Page, Page(), Page().get])
def test_a_class_stands_where_its_methods_stand(view: object) -> None:
    """Its own and inherited ones; a method alone stands alone."""
    wanted = [Page.get] if inspect.ismethod(view) else [Page.get, Page.helper, Base.dispatch]
    assert {spans(method)[0] for method in wanted} <= set(spans(view))
    assert (spans(Base.dispatch)[0] in spans(view)) is (len(wanted) > 1)


@pytest.mark.parametrize(
    ("view", "method"),
    [
        (FlaskPage.as_view("page"), FlaskPage.get),
        (DjangoPage.as_view(), DjangoPage.get),
    ],
    ids=["flask", "django"],
)
def test_the_class_behind_a_frameworks_function_is_found(
    view: object, method: Callable[..., Any]
) -> None:
    """``as_view()`` makes a function that knows its class."""
    assert spans(method)[0] in spans(view)


@pytest.mark.parametrize("view", [None, len, 5, "view", object(), dict])
def test_what_is_not_written_in_python_stands_nowhere(view: object) -> None:
    """It has no lines."""
    assert spans(view) == ()


def test_a_huge_class_is_cut_short() -> None:
    """What is kept for an endpoint is bounded."""
    huge = type("Huge", (), {})
    for number in range(3 * MAX_SPANS):
        namespace: dict[str, Any] = {}
        exec(compile("\n" * number + "def method(self): pass", "huge.py", "exec"), namespace)  # noqa: S102  # a function on every line
        setattr(huge, f"method_{number}", namespace["method"])
    assert len(spans(huge)) == MAX_SPANS


def test_views_that_wrap_each_other_in_a_circle_come_to_an_end() -> None:
    """As a careless decorator may have them."""

    def view() -> None:
        """Serve."""

    vars(view)["__wrapped__"] = view
    assert len(spans(view)) == 1

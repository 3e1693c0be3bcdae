"""A heap of millions of objects, deep and wide: the holder is right, the garbage is right."""

from __future__ import annotations

import pytest
from tests.test_extremes import ITEM, PLAIN, Expected, as_expected, looked_at

from leakmw import forked

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="nothing is forked here")

HEAPS = {
    "deep": Expected(f"__main__.CHAIN{ITEM} … {8 * ITEM}", "list", 40, PLAIN, "list", 1),
    "wide": Expected("__main__.LIST", "list", 2_000_040, 2_000_000 * 24, "list", 1),
}


@pytest.mark.parametrize("name", HEAPS)
def test_a_heap_that_goes_far_is_looked_at(name: str) -> None:
    """A chain of a million, a list of two million; the same as garbage."""
    as_expected(looked_at(name, "plain"), HEAPS[name])

"""The request path: counts visits, each once, and wakes a thread every so many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leakmw.background import process
from leakmw.records import ROUTE_KEY, UNMATCHED, VISIT_KEY, Visit
from leakmw.visits.current import CURRENT
from leakmw.visits.endpoints import STRIDE, Endpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from leakmw.records import Route
    from leakmw.settings import Settings
    from leakmw.visits.endpoints import Known, Tally


class Counting:
    """Counts the visits of one app in one process at a time.

    Nothing here takes a lock: finalizers and signal handlers may end visits, too. Attributes are
    only changed by statements that CPython does not interrupt.

    Args:
        settings: What the user chose.

        route: How this face names a visit from its environ or scope.

        follows: Whether it must be known at any moment whose visit it is.

    Attributes:
        known: What counts the visits of each template that has been seen, then by method, for a
            face that sees both at once; empty if the user names visits.
    """

    # each visit looks at nearly all of them: so they lie side by side
    __slots__ = (
        *("_counted", "_current", "_endpoints", "_flying", "_follows", "_left", "_make_current"),
        *("_namer", "_pid", "_route", "_step", "_stride", "known"),
    )

    def __init__(
        self,
        settings: Settings,
        route: Callable[[Mapping[str, Any]], Route],
        *,
        follows: bool,
    ) -> None:
        self._route = route
        self._follows = follows
        # bound once: to find a method of a variable takes as long as to call it
        self._current, self._make_current = CURRENT.get, CURRENT.set
        self._endpoints = Endpoints(settings.max_endpoints)
        self.known: Known = self._endpoints.known if settings.endpoint is None else {}
        self._namer = settings.endpoint
        self._pid = 0
        self._count_anew(settings)

    def _count_anew(self, settings: Settings) -> None:
        self._step = max(1, settings.every // 2)  # the first snapshot comes after so many
        self._flying = 0
        self._counted = 0  # visits until the last stride's end
        self._left = self._stride = min(STRIDE, self._step)
        self._endpoints.reset()

    def begin(
        self, request: MutableMapping[str, Any], endpoint: Tally | None = None
    ) -> Visit | None:
        """Count a visit that begins; its caller must :meth:`finish` it.

        Args:
            request: Its environ or scope, where the visit can be found from now on.

            endpoint: What counts the visits of its endpoint, if that is known.

        Returns:
            The visit; ``None`` where a face around this one counts it.
        """
        visit = Visit()
        visit.endpoint = endpoint
        visit.finished = False
        found = request.setdefault(VISIT_KEY, visit)
        if found is not visit:
            if not found.finished:
                return None
            request[VISIT_KEY] = visit  # the request has been served before
            request.pop(ROUTE_KEY, None)
        if self._pid != process.pid:
            self._settle_in()
        self._flying += 1
        if self._follows:
            outer = self._current()
            visit.outer = None if outer is None or outer.finished else outer
            self._make_current(visit)
        return visit

    def name(self, visit: Visit, request: Mapping[str, Any]) -> None:
        """Name *visit* from its environ or scope, unless it has a name."""
        if visit.endpoint is None:
            visit.endpoint = self._named(request)

    def finish(self, visit: Visit, request: Mapping[str, Any] | None = None) -> None:
        """Count *visit* as over, once; name it first from *request* if it has no name."""
        if visit.finished:
            return
        visit.finished = True
        if self._follows:
            # it may end in another context than it began in: that one keeps its own
            if self._current() is visit:
                self._make_current(visit.outer)
            visit.outer = None
        tally = visit.endpoint
        if tally is None:
            tally = self._named(request) or self._endpoints.named(UNMATCHED)
            visit.endpoint = tally
        rest = tally.rest + 1
        if rest == STRIDE:
            tally.strides += 1
            rest = 0
        tally.rest = rest
        self._flying -= 1
        self._left = left = self._left - 1
        if left == 0:
            self._end_stride()

    def _named(self, request: Mapping[str, Any] | None) -> Tally | None:
        if request is None:
            return None
        try:
            if self._namer is not None and (name := self._namer(request)) is not None:
                return self._endpoints.named(str(name))
            return self._endpoints.tally(self._route(request))
        except Exception as error:  # noqa: BLE001  # naming must never reach the request
            self.failed("endpoint", error)
            return None

    def _end_stride(self) -> None:
        """Begin to count anew, up to the visit that is to wake the thread at the latest."""
        counted = self._counted + self._stride
        until = self._step - counted % self._step
        stride = min(STRIDE, until)
        # in one go: nothing here lets another thread run, which may have ended a visit before
        self._counted = counted
        self._stride = stride
        self._left += stride
        if until == self._step:
            self._wake()

    def _wake_each(self, step: int) -> None:
        """Wake the thread after each *step* visits, from the middle of a stride on."""
        # in one go, as well
        left = self._left
        until = step - (self._counted + self._stride - left) % step
        if until < left:
            self._stride -= left - until
            self._left = until
        self._step = step

    def _finished(self) -> int:
        return self._counted + self._stride - self._left

    def _in_flight(self) -> int:
        # a visit that began before a fork may end after it, too
        return max(0, self._flying)

    def _settle_in(self) -> None:
        """Start anew in this process."""
        raise NotImplementedError

    def _wake(self) -> None:
        """Wake the thread for which visits are counted."""
        raise NotImplementedError

    def failed(self, where: str, error: BaseException) -> None:
        """Count an error of leakmw's own."""
        raise NotImplementedError

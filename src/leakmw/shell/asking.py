"""What a command asks, and what it makes of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from leakmw.shell.ending import FOUND, UNREACHABLE, EndingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


class Answered(NamedTuple):
    """An answer of the admin API.

    Attributes:
        status: As over HTTP.
        document: Its JSON; of an error ``{"error": {"code", "message"}}``.
    """

    status: int
    document: Any


class Source(Protocol):
    """Whom a command asks."""

    def ask(self, method: str, path: str, query: Mapping[str, str] = {}) -> Answered:
        """Return the answer of the admin API.

        Args:
            method: ``GET`` or ``POST``.

            path: Below the admin path, such as ``api/report``.

            query: Parameters.

        Raises:
            EndingError: If nobody answers, or not leakmw.
        """


def asked(source: Source, method: str, path: str, query: Mapping[str, str] = {}) -> Any:
    """Return the document that *source* answers with.

    Raises:
        EndingError: If it refuses, or nobody answers.
    """
    status, document = source.ask(method, path, query)
    if status < 400:  # noqa: PLR2004  # where errors begin
        return document
    try:
        message = document["error"]["message"]
    except (KeyError, TypeError):
        message = f"{path} was answered with status {status} and no reason"
    raise EndingError(str(message), FOUND)


def read(document: Any, reader: Callable[[Any], T]) -> T:
    """Return what *reader* makes of *document*.

    Raises:
        EndingError: If it is not of the form that this version knows.
    """
    try:
        return reader(document)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        said = f"{type(error).__name__} {error}"
        message = f"the answer is none of leakmw's, or of another version's ({said})"
        raise EndingError(message, UNREACHABLE) from error

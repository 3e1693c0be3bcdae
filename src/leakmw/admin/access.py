"""Who may see the admin endpoint: who has the token, and for changes, who comes from its page."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from leakmw.admin.messages import AdminError, redirect

if TYPE_CHECKING:
    from leakmw.admin.messages import AdminRequest, AdminResponse

COOKIE = "leakmw"
"""Name of the cookie that a browser gets for the token."""

_MAX_PARAMETERS = 16
_PORTS = {"http": 80, "https": 443}


class Access:
    """Tells requests with the token from all others.

    The cookie's value is derived from the token: a browser never keeps the token itself, every
    worker knows the same value without remembering it, and a new token ends all sessions.

    Args:
        token: The secret.

        path: Where the admin endpoint answers, below the app's own prefix.
    """

    def __init__(self, token: str, path: str) -> None:
        self._token = token
        self._path = path
        self._session = hmac.digest(token.encode(), b"leakmw cookie", "sha256").hex()

    def admits(self, request: AdminRequest) -> bool:
        """Return whether *request* carries the token or the cookie, or is about to get one."""
        return self._by_header(request) or self._by_cookie(request) or self.is_login(request)

    def is_login(self, request: AdminRequest) -> bool:
        """Return whether *request* opens the page with ``?token=``."""
        if request.method not in {"GET", "HEAD"} or "token=" not in request.query:
            return False
        if request.path not in {self._path, f"{self._path}/"}:
            return False
        given = parameters(request, "token")
        # a token has no spaces, but it may have a "+" that somebody did not escape
        return any(_equal(token.replace(" ", "+"), self._token) for token in given)

    def login(self, request: AdminRequest) -> AdminResponse:
        """Return the redirect that moves the token out of the address into a cookie."""
        prefix = quote(request.prefix, errors="replace")
        cookie = f"{COOKIE}={self._session}; Path={prefix}{self._path}; HttpOnly; SameSite=Strict"
        if request.origin.startswith("https:"):
            cookie += "; Secure"
        return redirect(page_from(request.path), headers=(("Set-Cookie", cookie),))

    def check_origin(self, request: AdminRequest) -> None:
        """Refuse what another site's page sent with the user's cookie.

        Browsers that say where a request comes from are believed: behind a proxy that rewrites
        the host, ``Origin`` may differ from what the server sees. A client that says nothing is
        no browser, and must bring the token itself.

        Raises:
            AdminError: If *request* does not come from our own page.
        """
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        if site is not None:
            ours = site in {"same-origin", "none"}
        elif origin is not None:
            ours = _server(origin) is not None and _server(origin) == _server(request.origin)
        else:
            ours = self._by_header(request)
        if not ours:
            raise AdminError(
                403,
                "cross_origin",
                "This changes something, so it must come from this server's own page "
                "or bring the token as 'Authorization: Bearer'.",
            )

    def _by_header(self, request: AdminRequest) -> bool:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and _equal(credentials.strip(), self._token)

    def _by_cookie(self, request: AdminRequest) -> bool:
        pairs = (part.partition("=") for part in request.headers.get("cookie", "").split(";"))
        return any(
            name.strip() == COOKIE and _equal(value.strip(), self._session)
            for name, _, value in pairs
        )


def parameters(request: AdminRequest, name: str, *, blank: bool = False) -> list[str]:
    """Return the values of the query's parameter *name*; none when the query has too many.

    Args:
        request: Whose query it is.

        name: As it is called there.

        blank: Whether an empty value is one.
    """
    try:
        query = parse_qs(request.query, keep_blank_values=blank, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        return []
    return query.get(name, [])


def page_from(path: str) -> str:
    """Return the page relative to *path*, which is the page's own, its slash perhaps missing."""
    return f"./{path.rpartition('/')[2]}/".replace(".//", "./")


def _equal(given: str, secret: str) -> bool:
    """Compare in a time that does not tell how much of *secret* was right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())


def _server(origin: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port, or ``None`` for what names no server, such as ``null``."""
    try:
        parts = urlsplit(origin)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None

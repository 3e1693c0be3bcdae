"""Who has the token gets in by header or by cookie, and changes come from our own page only."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import pytest

from leakmw.admin.messages import AdminRequest
from leakmw.admin.service import Service
from leakmw.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakmw.admin.messages import AdminResponse

TOKEN = "a-token-of-some-length"  # the secret of tests


def _ask(admin: Service, **changed: Any) -> AdminResponse | None:
    wanted = {"method": "GET", "path": "/__leaks__/", "query": "", "headers": {}} | changed
    return admin.handle(AdminRequest(**wanted))


def _log_in(admin: Service, **changed: Any) -> dict[str, str]:
    response = _ask(admin, query=f"token={TOKEN}", **changed)
    assert response is not None
    assert (response.status, response.body) == (303, b"")
    return dict(response.headers)


def _cookie(admin: Service) -> str:
    return _log_in(admin)["Set-Cookie"].partition(";")[0]


@pytest.mark.parametrize("credential", [f"Bearer {TOKEN}", f"bearer   {TOKEN} "])
def test_the_token_opens_it_by_header(admin: Service, credential: str) -> None:
    """The scheme's case and spaces do not matter, as RFC 9110 has it."""
    response = _ask(admin, headers={"authorization": credential})

    assert response is not None
    assert response.status == 200


@pytest.mark.parametrize(
    "credential",
    [
        "",
        "Bearer",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer{TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
        f"Bearer {TOKEN}\N{LATIN SMALL LETTER U WITH DIAERESIS}",
        "Bearer \udcff",
    ],
)
def test_anything_but_the_token_does_not(admin: Service, credential: str) -> None:
    """What is almost the token is no token."""
    assert _ask(admin, headers={"authorization": credential}) is None


def test_a_browser_gets_a_cookie_for_the_token(admin: Service) -> None:
    """The redirect takes the token out of the address, and the cookie works from then on."""
    headers = _log_in(admin)
    cookie = SimpleCookie(headers["Set-Cookie"])["leakmw"]
    page = _ask(admin, headers={"cookie": f"theme=dark; leakmw={cookie.value}; a=b"})

    assert headers["Location"] == "./"
    assert cookie["path"] == "/__leaks__"
    assert cookie["samesite"] == "Strict"
    assert cookie["httponly"]
    assert not cookie["secure"]
    assert not cookie["expires"]
    assert not cookie["max-age"]
    assert page is not None
    assert page.status == 200


def test_the_cookie_does_not_hold_the_token(admin: Service) -> None:
    """Neither does it carry it, nor is the token itself taken for one."""
    assert TOKEN not in _cookie(admin)
    assert _ask(admin, headers={"cookie": f"leakmw={TOKEN}"}) is None
    assert (
        _ask(admin, headers={"authorization": _cookie(admin).replace("leakmw=", "Bearer ")})
        is None
    )


@pytest.mark.parametrize(
    "cookie", ["leakmw=", "leakmw", "", ";;=;", "other={}", "leakmw={}x", "leakmw=\udcff"]
)
def test_another_cookie_does_not_open_it(admin: Service, cookie: str) -> None:
    """Neither other names nor other values do."""
    value = _cookie(admin).partition("=")[2]

    assert _ask(admin, headers={"cookie": cookie.format(value)}) is None


def test_one_right_cookie_among_wrong_ones_is_enough(admin: Service) -> None:
    """Browsers send two of one name when two paths match."""
    assert _ask(admin, headers={"cookie": f"leakmw=old; {_cookie(admin)}"}) is not None


def test_a_new_token_ends_all_sessions(admin: Service, shop_monitor: Any) -> None:
    """A cookie is worth nothing once its token is gone, and works in every worker until then."""
    cookie = _cookie(admin)
    same = Service(Settings(token=TOKEN), shop_monitor)
    other = Service(Settings(token=TOKEN[::-1]), shop_monitor)

    assert _ask(same, headers={"cookie": cookie}) is not None
    assert _ask(other, headers={"cookie": cookie}) is None


def test_over_https_the_cookie_stays_there(admin: Service) -> None:
    """It is marked Secure where the server sees https."""
    assert "; Secure" in _log_in(admin, origin="https://shop.example")["Set-Cookie"]


def test_below_a_prefix_the_cookie_stays_below_it(admin: Service) -> None:
    """A mounted app's cookie is for its own admin path, whatever characters that has."""
    headers = _log_in(admin, prefix="/shop;x=\r\nf\N{LATIN SMALL LETTER U WITH DIAERESIS}r")

    assert "; Path=/shop%3Bx%3D%0D%0Af%C3%BCr/__leaks__;" in headers["Set-Cookie"]


def test_without_its_last_slash_the_page_is_found_too(admin: Service) -> None:
    """The address is relative to what the browser asked for, with and without the token."""
    assert _log_in(admin, path="/__leaks__")["Location"] == "./__leaks__/"


def test_a_head_request_logs_in_like_a_get(admin: Service) -> None:
    """Link checkers see what browsers would."""
    assert "Set-Cookie" in _log_in(admin, method="HEAD")


@pytest.mark.parametrize("written", ["an+unescaped/token==", "an%2Bunescaped%2Ftoken%3d%3d"])
def test_a_token_may_be_pasted_as_it_is(shop_monitor: Any, written: str) -> None:
    """Base64 has signs that mean something in a query; both ways of writing them work."""
    admin = Service(Settings(token="an+unescaped/token=="), shop_monitor)

    response = _ask(admin, query=f"token={written}")

    assert response is not None
    assert response.status == 303


@pytest.mark.parametrize(
    "changed",
    [
        {"query": f"token={TOKEN[:-1]}"},
        {"query": f"Token={TOKEN}"},
        {"query": f"token={TOKEN}", "method": "POST"},
        {"query": f"token={TOKEN}", "path": "/__leaks__/api/report"},
        {"query": "a&" * 100 + f"token={TOKEN}"},
        {"query": "token=%ff%c3%bc"},
    ],
)
def test_the_query_opens_nothing_but_the_page(admin: Service, changed: dict[str, str]) -> None:
    """A token in the address of anything else would end in logs for nothing."""
    assert _ask(admin, **changed) is None


def test_a_wrong_token_in_the_address_does_not_lock_out(admin: Service) -> None:
    """Who has the cookie may follow an outdated link."""
    response = _ask(admin, query="token=old", headers={"cookie": _cookie(admin)})

    assert response is not None
    assert response.status == 200


OURS = "http://shop.example:8000"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin", "origin": "http://behind.a.proxy"},
        {"origin": OURS},
        {"origin": OURS.upper()},
    ],
)
def test_our_own_page_may_change_things(admin: Service, headers: dict[str, str]) -> None:
    """Both ways in which browsers say where a form stood are understood."""
    given = {"cookie": _cookie(admin)} | headers

    response = _ask(
        admin, method="POST", path="/__leaks__/api/snapshots", headers=given, origin=OURS
    )

    assert response is not None
    assert response.status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": OURS},
        {"sec-fetch-site": ""},
        {"origin": "http://evil.example"},
        {"origin": "https://shop.example:8000"},
        {"origin": "http://shop.example"},
        {"origin": "http://shop.example:8000.evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://["},
        {"origin": "http://shop.example:99999999"},
        {"authorization": "Basic c2hvcDpzaG9w"},
        {},
    ],
)
def test_other_pages_may_not(admin: Service, headers: dict[str, str]) -> None:
    """The user's cookie is no consent; a request that says nothing must bring the token."""
    given = {"cookie": _cookie(admin)} | headers

    response = _ask(
        admin, method="POST", path="/__leaks__/api/snapshots", headers=given, origin=OURS
    )

    assert response is not None
    assert response.status == 403
    assert b"cross_origin" in response.body


def test_the_default_port_is_the_same_server(admin: Service) -> None:
    """With or without it, an origin is the same."""
    headers = {"cookie": _cookie(admin), "origin": "https://shop.example"}

    response = _ask(
        admin,
        method="POST",
        path="/__leaks__/api/snapshots",
        headers=headers,
        origin="https://shop.example:443",
    )

    assert response is not None
    assert response.status == 201


def test_an_unknown_server_is_nobodys_origin(admin: Service) -> None:
    """Where the server does not know itself, no origin is taken for its own."""
    headers = {"cookie": _cookie(admin), "origin": "null"}

    response = _ask(admin, method="POST", path="/__leaks__/api/snapshots", headers=headers)

    assert response is not None
    assert response.status == 403


def test_a_program_with_the_token_may_change_things(ask: Callable[..., AdminResponse]) -> None:
    """It needs to say nothing of where it is, but another site's page may not use it."""
    assert ask("POST", "/api/snapshots").status == 201
    assert ask("POST", "/api/snapshots", sec_fetch_site="cross-site").status == 403

"""Whatever is at the other end of ``--url``, the command says what it met, and ends in order."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from tests.test_servers import SERVERS, TOKEN, serving, visit

from leakmw import cli
from leakmw.shell.ending import EndingError
from leakmw.shell.remote import HttpSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], Answer | None]) -> Iterator[str]:
    """Serve on this machine what *answer* says, nothing where it is ``None``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # as http.server calls it
            given = answer(self)
            if given is None:
                return
            status, headers, body = given
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def refusal(url: str, timeout: float = 20.0, token: str = TOKEN) -> tuple[int, str]:
    """Return status and message with which asking *url* ends."""
    with pytest.raises(EndingError) as ending:
        HttpSource(url, token, timeout).ask("GET", "api/report")
    return ending.value.status, ending.value.message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {}, b"Not Found"), "the path or the token is wrong"),
        ((404, {}, b'{"detail": "Not Found"}'), "the path or the token is wrong"),
        ((404, {}, b'["error"]'), "the path or the token is wrong"),
        ((401, {}, b"who are you?"), "something before it, with 401"),
        ((502, {}, b"<html>"), "something before it, with 502"),
        ((200, {}, b"<html>"), "the answer is no JSON"),
        ((200, {}, b"\xff"), "the answer is no JSON"),
        ((200, {"Content-Length": "9"}, b"{}"), "ended too soon"),
        ((302, {"Location": "https://shop/__leaks__/?a=secret"}, b""), "https://shop/__leaks__/,"),
        ((301, {}, b""), "redirects to somewhere else"),
        (None, "closed before the answer"),
    ],
)
def test_who_is_not_leakmw_is_told_from_it(answer: Answer | None, said: str) -> None:
    """By what it answers; nothing that an address might hide is repeated."""
    with answering(lambda _: answer) as url:
        status, message = refusal(url)
    assert status == 3
    assert message.startswith(f"{url}/__leaks__: ")
    assert said in message
    assert "secret" not in message


def test_the_token_goes_to_one_server_only() -> None:
    """A redirection is not followed, whether it stays on the server or not."""
    seen: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        seen.append(request.headers["Authorization"])
        return 307, {"Location": "/elsewhere"}, b""

    with answering(answer) as url:
        refusal(url)
    assert seen == [f"Bearer {TOKEN}"]


def test_silence_has_an_end() -> None:
    """A server that takes the connection and says nothing is left after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert refusal(url, 0.2) == (3, f"{url}/__leaks__: no answer within 0.2 s")


def test_nobody_listens() -> None:
    """A port that is closed, and a host that does not exist."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "nothing listens there" in refusal(f"http://127.0.0.1:{port}")[1]
    assert "no host of that name" in refusal("http://nowhere.invalid")[1]


def test_tls_is_told_from_its_lack() -> None:
    """HTTPS to a server of HTTP, and HTTP to one of TLS, which answers otherwise."""
    with answering(lambda _: (200, {}, b"{}")) as url:
        status, message = refusal(url.replace("http:", "https:"))
    assert (status, "is it http:// ?" in message) == (3, True)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def alert() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x15\x03\x03\x00\x02\x02\x46")  # as OpenSSL refuses HTTP

        thread = threading.Thread(target=alert)
        thread.start()
        status, message = refusal(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert (status, "is it https:// ?" in message) == (3, True)


def test_a_certificate_that_is_not_trusted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what can be done about it."""
    error = ssl.SSLCertVerificationError("self-signed")
    error.verify_message = "self-signed certificate"

    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    source = HttpSource("https://shop", TOKEN)
    monkeypatch.setattr(source._opener, "open", fail)
    with pytest.raises(EndingError, match=r"self-signed certificate\); SSL_CERT_FILE"):
        source.ask("GET", "api/report")


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        ("127.0.0.1:8000", TOKEN, "is no address"),
        ("localhost", TOKEN, "is no address"),
        ("file:///etc/passwd", TOKEN, "is no address"),
        ("http://", TOKEN, "is no address"),
        ("http://[::1", TOKEN, "is no address"),
        ("http://host:99999", TOKEN, "is no address"),
        ("http://host:0", TOKEN, "is no address"),
        ("http://host/__leaks__/?token=abc", TOKEN, "scheme, host, port and path only"),
        ("http://me@host/", TOKEN, "scheme, host, port and path only"),
        ("http://host/a b", TOKEN, "has signs in it"),
        ("http://h\u00f6st/", TOKEN, "has signs in it"),
        ("http://host", "", "no token"),
        ("http://host", "a\nb", "has signs in it"),
        ("http://host", "t\u00f6ken", "has signs in it"),
    ],
)
def test_what_cannot_be_asked_is_refused(url: str, token: str, said: str) -> None:
    """As a wrong command, without the token's being repeated."""
    status, message = refusal(url, token=token)
    assert status == 2
    assert said in message
    assert not token or token not in message


def test_a_path_is_added_where_there_is_none() -> None:
    """And a slash at its end is none of its own."""
    for url in ("http://host:8000", "http://host:8000/", "http://host:8000/__leaks__//"):
        assert HttpSource(url, TOKEN).url == "http://host:8000/__leaks__"
    assert HttpSource("https://host/shop/leaks/", TOKEN).url == "https://host/shop/leaks"


def test_an_answer_of_another_kind_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An app that answers everything with JSON of its own is not taken for leakmw."""
    monkeypatch.setenv("LEAKMW_TOKEN", TOKEN)
    commands = (["report"], ["workers"], ["gc"], ["diff"], ["diff", "1", "2"])
    bodies = [b"{}", b"[]", b"1", b'{"workers": 1, "snapshots": {"a": 1}}']
    with answering(lambda _: (200, {}, bodies[-1])) as url:
        while bodies:
            for command in commands:
                assert cli.main([*command, "--url", url]) == 3
                out, err = capsys.readouterr()
                assert out == ""
                assert "none of leakmw's, or of another version's" in err
            bodies.pop()


def test_without_anybody_to_ask_the_remedy_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """No address, no token, or two sources at once are wrong commands."""
    for arguments, said in (
        ([], "ask a running app with --url and its token in LEAKMW_TOKEN"),
        (["--url", "http://host"], "set LEAKMW_TOKEN"),
        (["--url", "http://host", "--store", "x"], "not both"),
    ):
        assert cli.main(["report", *arguments]) == 2
        out, err = capsys.readouterr()
        assert (out, said in err) == ("", True)


@pytest.mark.parametrize("name", ["gunicorn-gthread", "uvicorn-workers"])
def test_a_real_server_is_asked(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each command gets its answer from one of the workers."""
    monkeypatch.setenv("LEAKMW_TOKEN", TOKEN)

    def run(*command: str) -> Any:
        status = cli.main([*command, "--json", "--url", url])
        out, err = capsys.readouterr()
        assert (status, err) == (0, "")
        return json.loads(out)

    with serving(SERVERS[name], tmp_path / "server.log") as server:
        url = "http://{}:{}".format(*server.address)
        for _ in range(4):
            visit(server)
        assert run("snapshot")["number"] >= 1
        assert {one["alive"] for one in run("workers")["workers"]} <= {True}
        assert run("gc")["enabled"] is True
        assert "freed_objects" in run("gc", "--collect")
        cli.main(["doctor", "--json", "--url", url])  # not content without its extension
        found = {check["name"]: check["good"] for check in json.loads(capsys.readouterr().out)}
        assert (found["endpoint"], found["workers"], found["errors"]) == (True, True, True)
        assert refusal(url, token="another-token-of-that-length")[0] == 3
        assert refusal(f"{url}/elsewhere")[0] == 3

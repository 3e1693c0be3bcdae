"""The store: what is written is read back, whatever happens to the file or to who writes it."""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from leakmw.fleet import SPEAK_SECONDS
from leakmw.records import (
    Finding,
    Frame,
    Live,
    Profile,
    Remembered,
    Reply,
    Report,
    Request,
    Snapshot,
    State,
    Worker,
    WorkerStatus,
)
from leakmw.store import cadence, profiles, pruning, release, schema
from leakmw.store.bell import MOST_BYTES, Bell
from leakmw.store.codec import decoded, encoded
from leakmw.store.commands import STALE_SECONDS, Commands
from leakmw.store.database import Database, usable
from leakmw.store.failure import BrokenError, FullError, StoreError
from leakmw.store.files import app_name, folder, located
from leakmw.store.profiles import STACKS, Stacks
from leakmw.store.shared import MOST_UNITE_SECONDS, SharedStore, Told
from leakmw.store.view import STRANGE_SECONDS, last_words, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

RELEASE = "version 1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where a store may lie."""
    return tmp_path / "shop.db"


@pytest.fixture
def opened(file: Path) -> Iterator[Callable[[], Database]]:
    """Return what opens the store once more; all are closed at the end."""
    every: list[Database] = []

    def once_more() -> Database:
        every.append(Database(file))
        return every[-1]

    yield once_more
    for one in every:
        one.close()


@pytest.fixture
def told(shop_report: Report, shop_monitor: Any) -> Callable[..., Told]:
    """Return what makes what a worker tells at a snapshot."""

    def tell(pid: int = 71, number: int = 1, **visits: int) -> Told:
        worker = replace(shop_report.worker, pid=pid)
        status = replace(
            shop_monitor.peers[0],
            worker=worker,
            snapshots=number,
            visits=number * 1000,
            seen_at=shop_report.taken_at,
        )
        profile = replace(shop_monitor.live[0], worker=worker, snapshot=f"{pid}-{number}")
        return Told(
            status, visits or {"POST /login": 1000 * number}, b"seen", shop_report, profile
        )

    return tell


def shared(
    database: Database, living: Callable[[Worker], bool | None] | None = None
) -> SharedStore:
    """Return the store as one worker has it."""
    return SharedStore(database, RELEASE, living or (lambda _: True), tuple)


# records


@tuned(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_report_is_read_as_it_was_written(shop_report: Report, data: st.DataObject) -> None:
    """With all that is in it, and with what is not known."""
    figures = st.integers(0, 2**60) | st.none()
    memory = replace(
        shop_report.memory,
        rss_bytes=data.draw(figures),
        limit_kind=data.draw(st.text() | st.none()),
    )
    report = replace(
        shop_report,
        memory=memory,
        service=data.draw(st.text() | st.none()),
        notes=tuple(data.draw(st.lists(st.text()))),
        findings=shop_report.findings[: data.draw(st.integers(0, 2))],
    )
    assert decoded(Report, encoded(report)) == report


def test_all_that_is_stored_is_read_as_it_was_written(
    shop_report: Report, shop_monitor: Any
) -> None:
    """Each kind of record."""
    finding = shop_report.findings[0]
    known = Remembered(State.CONFIRMED, finding, 12, 34, shop_report.taken_at)
    records: tuple[tuple[type, object], ...] = (
        (WorkerStatus, shop_monitor.peers[0]),
        (Finding, finding),
        (Remembered, known),
        (Snapshot, shop_monitor.kept[0]),
    )
    for kind, record in records:
        if kind is not Snapshot:
            assert decoded(kind, encoded(record)) == record


@pytest.mark.parametrize(
    "text",
    ["", "{", "3", "[]", '{"host": 3, "pid": 1, "started_at": "x"}', '{"host": "a"}', "null"],
)
def test_what_is_no_record_is_refused(text: str) -> None:
    """With one error, whatever it is."""
    with pytest.raises(ValueError):  # noqa: PT011  # its words are for nobody
        decoded(Worker, text)


def test_what_a_newer_version_adds_is_passed_over() -> None:
    """And what an older one did not know has its default."""
    text = '{"host": "a", "pid": 1, "started_at": "2026-11-22T10:00:00+00:00", "mood": "good"}'
    assert decoded(Worker, text).pid == 1
    assert decoded(Reply, '[200, "{}", "more"]') == Reply(200, "{}")
    assert decoded(Request, '["GET", "/api/gc"]') == Request("GET", "/api/gc", "")


# where it lies


def test_each_user_and_app_has_a_private_file(
    tmp_path: Path, opened: Callable[[], Database]
) -> None:
    """Nobody else may read it, nor lay another in its place."""
    where = located(None, "shop", {"XDG_STATE_HOME": str(tmp_path / "state")})
    one = Database(where)
    with one.transaction():
        pass
    one.close()
    assert stat.S_IMODE(where.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(where.stat().st_mode) == 0o600


def test_the_file_is_told_by_service_or_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in the name, it is one file name; equal readable parts are told apart."""
    monkeypatch.chdir(tmp_path)
    assert app_name(None).startswith(tmp_path.name)
    names = {
        app_name(name) for name in (None, "shop", "../shop", "..", "/", "a" * 999, "läden", "")
    }
    assert len(names) == 8
    assert all(
        len(name) < 80 and "/" not in name and name not in {"", ".", ".."} for name in names
    )


def test_without_a_home_it_lies_in_a_folder_of_the_users_own(tmp_path: Path) -> None:
    """As in a container; a relative XDG_STATE_HOME counts as none."""
    assert folder({"HOME": "/", "XDG_STATE_HOME": "state"}).name == f"leakmw-{os.getuid()}"
    assert folder({"HOME": str(tmp_path)}) == tmp_path / ".local/state/leakmw"
    assert located("/srv/leaks.db", "shop", {}) == located("/srv/leaks.db", None, {})


def test_a_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    """Somebody may have laid it there."""
    (tmp_path / "precious").write_text("of somebody else")
    file.symlink_to(tmp_path / "precious")
    assert str(file) in (usable(file) or "")
    assert (tmp_path / "precious").read_text() == "of somebody else"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(file: Path) -> None:
    """Who owns it could replace the file."""
    os.chown(file.parent, 12345, 12345)
    try:
        assert "belongs to another user" in (usable(file) or "")
    finally:
        os.chown(file.parent, 0, 0)


def test_a_trial_leaves_nothing_behind(file: Path) -> None:
    """Where there was nothing."""
    assert usable(file) is None
    assert list(file.parent.iterdir()) == []


# the file


def test_another_programs_database_is_refused(file: Path) -> None:
    """It is named, and stays as it is."""
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE customers (name)")
    other.close()
    assert "a database of another program" in (usable(file) or "")
    again = sqlite3.connect(file)
    assert again.execute("SELECT name FROM sqlite_schema").fetchall() == [("customers",)]
    again.close()


def test_an_older_store_becomes_a_newer_one(
    opened: Callable[[], Database], told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is in it; and an older worker goes on with it."""
    first, second = opened(), opened()
    shared(first).publish(told())
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE mood (id INTEGER)"))
    with second.transaction() as connection:
        connection.execute("INSERT INTO mood VALUES (1)")
        assert connection.execute("SELECT count(*) FROM worker").fetchone() == (1,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.STEPS),)
    monkeypatch.undo()
    first.close()
    shared(first).publish(told(72))
    assert len(read(first).rows) == 2


def test_workers_that_start_at_once_make_one_store(file: Path) -> None:
    """Each finds its tables."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from leakmw.store.database import Database\n"
        "one = Database(Path(sys.argv[1]))\n"
        "with one.transaction() as c: print(c.execute('SELECT count(*) FROM united').fetchone())\n"
    )
    command = [sys.executable, "-c", code, str(file)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    assert [worker.communicate()[0] for worker in workers] == [b"(1,)\n"] * 4


@pytest.mark.parametrize(
    "content", [b"nonsense" * 1000, b"", b"SQLite format 3\0" + b"\xff" * 8000]
)
def test_a_broken_file_is_set_aside_and_named(
    file: Path, opened: Callable[[], Database], told: Callable[..., Told], content: bytes
) -> None:
    """What was in it can still be looked at, and the next snapshot goes into a new one."""
    store = shared(opened())
    store.publish(told())
    store.close()
    file.write_bytes(content)
    if content:
        with pytest.raises(BrokenError, match="set aside"):
            store.publish(told(number=2))
        (aside,) = file.parent.glob("*.broken-*")
        assert aside.read_bytes() == content
    store.publish(told(number=3))
    assert len(read(opened()).rows) == 1


def test_a_file_that_is_gone_is_made_anew(
    file: Path, opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """This worker tells all of its visits again."""
    store = shared(opened())
    store.publish(told())
    file.unlink()
    store.publish(told(number=2))
    with opened().reading() as connection:
        assert connection.execute("SELECT visits FROM visits WHERE release = ''").fetchall() == [
            (2000,)
        ]


def test_a_file_that_is_replaced_is_left_for_the_new_one(
    file: Path, opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """This worker tells all of its visits to that one, and the old one is not written to."""
    store, other = shared(opened()), Database(file.with_name("other.db"))
    store.publish(told())
    shared(other).publish(told(pid=72))
    other.close()
    old = file.rename(file.with_name("old.db"))
    for ending in ("-wal", "-shm"):
        file.with_name(f"{file.name}{ending}").rename(f"{old}{ending}")
    other.file.rename(file)
    store.publish(told(number=2))
    assert {one.worker.pid for one in read(opened()).workers(lambda _: True)} == {71, 72}


def test_a_file_that_is_truncated_while_it_is_open_is_begun_anew(
    file: Path, opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """At the latest with the snapshot after the next."""
    store = shared(opened())
    store.publish(told())
    with opened().reading() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(file, 0)
    for number in (2, 3):
        with suppress(StoreError):
            store.publish(told(number=number))
    store.publish(told(number=4))
    with opened().reading() as connection:
        assert connection.execute("SELECT visits FROM visits WHERE release = ''").fetchall() == [
            (4000,)
        ]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_locked_store_is_waited_for_and_then_said(
    opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """Nothing is lost: the next snapshot has all of it."""
    store, other = shared(opened()), opened()
    store.publish(told(visits=1))
    with other.transaction(), pytest.raises(StoreError, match="locked by another process"):
        store.publish(told(number=2, visits=5))
    store.publish(told(number=3, visits=7))
    with other.reading() as connection:
        query = "SELECT visits FROM visits WHERE release = ''"
        assert connection.execute(query).fetchall() == [(7,)]


def test_a_full_store_forgets_what_has_ended(
    opened: Callable[[], Database], told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then goes on."""
    monkeypatch.setattr(schema, "MOST_BYTES", 60 * schema.PAGE_BYTES)
    living = {71}
    store = shared(opened(), lambda worker: worker.pid in living)
    fat = told()._replace(seen=b"x" * 30_000)

    def fill() -> None:
        for pid in range(100, 140):
            shared(opened()).publish(fat._replace(status=told(pid).status))

    with pytest.raises(FullError, match="is full"):
        fill()
    with opened().transaction() as connection:
        connection.execute("UPDATE worker SET ended_at = 1")
    with pytest.raises(FullError):
        store.publish(told()._replace(seen=b"x" * 90_000))
    store.publish(told())
    assert [one.worker.pid for one in read(opened()).workers(lambda _: True)] == [71]


def test_a_store_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "folder").write_text("a file")
    problem = usable(tmp_path / "folder" / "shop.db")
    assert problem is not None
    assert "cannot be opened" in problem
    assert "give `store` a file" in problem


def _goes_on(file: Path) -> None:
    """Fork with an open store; the child ends as processes do, its interpreter torn down."""
    one = Database(file)
    writing = threading.Event()

    def write() -> None:
        own = Database(file)
        while not writing.is_set():
            with own.transaction() as connection:
                connection.execute("UPDATE united SET next_at = next_at + 1")
        own.close()

    thread = threading.Thread(target=write)
    with one.transaction():
        pass
    thread.start()
    for _ in range(30):
        pid = os.fork()
        if pid == 0:
            sys.exit(0)  # and not at once, as a worker of multiprocessing does
        os.waitpid(pid, 0)
    writing.set()
    thread.join()
    with one.reading() as connection:
        print(connection.execute("PRAGMA integrity_check").fetchone()[0])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_leaves_the_store_of_its_parent_alone(file: Path) -> None:
    """Also as it ends, while the parent writes."""
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from pathlib import Path\n"
        "import importlib.util as u\n"
        "spec = u.spec_from_file_location('t', sys.argv[1]); t = u.module_from_spec(spec)\n"
        "spec.loader.exec_module(t); t._goes_on(Path(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, __file__, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["ok"], done.stderr


# what all workers know


def test_visits_are_counted_once_by_version_and_in_all(
    opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """By all workers together, however often each tells."""
    first, second = shared(opened()), shared(opened())
    for number in (1, 2, 3):
        first.publish(told(71, number, a=10 * number))
    second.publish(told(72, 1, a=5, b=1))
    second.speak(told(72).status, {"a": 6, "b": 1})
    with opened().reading() as connection:
        every = connection.execute("SELECT * FROM visits ORDER BY endpoint, release").fetchall()
    assert every == [("a", "", 36), ("a", RELEASE, 36), ("b", "", 1), ("b", RELEASE, 1)]


def test_one_worker_reports_on_all_at_a_time(
    opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """Until it is another one's turn; a worker that is alone need not wait."""
    first, second = shared(opened()), shared(opened())
    assert first.publish(told(71))
    assert first.publish(told(71, 2))
    second.publish(told(72))
    turns = [
        store.publish(told(pid, number))
        for number in (3, 4)
        for pid, store in ((71, first), (72, second))
    ]
    assert turns.count(True) <= 1


def test_what_has_been_reported_on_needs_no_other_report(
    opened: Callable[[], Database], told: Callable[..., Told], shop_report: Report
) -> None:
    """Unless it was told after that, or it was a worker of another version, who reads less."""
    first, second = shared(opened()), shared(opened())
    strange = SharedStore(opened(), "version 2", lambda _: True, tuple)
    for pid, store in ((71, first), (72, second), (73, strange)):
        store.publish(told(pid))

    def report(store: SharedStore, read_before: Callable[[], object] = bool) -> None:
        store.others({}, told().report.engine.name)
        read_before()
        store.unite(lambda *_: ({}, shop_report, None), 0.0)

    assert second.turn_in() <= MOST_UNITE_SECONDS
    report(first)
    assert second.turn_in() == math.inf
    assert strange.turn_in() <= MOST_UNITE_SECONDS
    report(strange)
    assert second.turn_in() <= MOST_UNITE_SECONDS
    report(first, lambda: second.publish(told(72, 2)))
    assert second.turn_in() <= MOST_UNITE_SECONDS
    report(first)
    assert second.turn_in() == math.inf


def test_what_is_remembered_is_changed_by_one_at_a_time(
    opened: Callable[[], Database], told: Callable[..., Told], shop_report: Report
) -> None:
    """So that one of them says it."""
    finding = shop_report.findings[0]
    said = []

    def conclude(known: Mapping[str, Remembered], visits: Mapping[str, int], lately: Any) -> Any:
        now = dict(known)
        if finding.fingerprint not in known:
            said.append(finding.fingerprint)
            now[finding.fingerprint] = Remembered(
                State.CONFIRMED, finding, 1, 2, shop_report.taken_at
            )
        return now, shop_report, visits

    for pid in (71, 72, 73):
        store = shared(opened())
        store.publish(told(pid, a=10))
        assert store.unite(conclude, 0.0) == {"a": 10 * (pid - 70)}
    assert said == [finding.fingerprint]
    assert read(opened()).report() == shop_report
    shared(opened()).unite(lambda *_: ({}, shop_report, None), 0.0)
    with opened().reading() as connection:
        assert connection.execute("SELECT count(*) FROM finding").fetchone() == (0,)


def test_workers_are_told_apart_and_their_ends_noticed(
    opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """On another host by their silence."""
    living = {71, 72}
    stores = {pid: shared(opened(), lambda one: one.pid in living) for pid in (71, 72)}
    for pid, store in stores.items():
        store.publish(told(pid))
    living.remove(71)
    view = read(opened())
    assert [
        (one.worker.pid, one.alive) for one in view.workers(lambda one: one.pid in living)
    ] == [
        (72, True),
        (71, False),
    ]
    assert [one.worker.pid for _, one in view.living(lambda one: one.pid in living)] == [72]
    assert view.living(lambda _: None) == []  # long silent, elsewhere
    stores[72].speak(told(72).status, {})
    with opened().reading() as connection:
        ended = connection.execute("SELECT pid FROM worker WHERE ended_at IS NOT NULL").fetchall()
    assert ended == [(71,)]
    assert STRANGE_SECONDS > 2 * SPEAK_SECONDS
    assert last_words(opened(), view.named("72")[0]) is not None
    assert view.named("99") == []


def test_only_what_is_new_of_others_is_read(
    opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """And nothing of another version of the app, or of another tracer."""
    first, second = shared(opened()), shared(opened())
    first.publish(told(71))
    second.publish(told(72))
    strange = SharedStore(opened(), "version 2", lambda _: True, tuple)
    strange.publish(told(73))
    engine = told().report.engine.name
    ((worker, number, content),) = first.others({}, engine)
    assert content == b"seen"
    assert first.others({worker: number}, engine) == [(worker, number, None)]
    assert first.others({}, "another") == []


def test_others_hear_of_changes(opened: Callable[[], Database], told: Callable[..., Told]) -> None:
    """And of nothing when there are none."""
    first, second = shared(opened()), shared(opened())
    first.publish(told(71))
    assert second.look()
    assert not second.look()
    first.publish(told(71, 2))
    assert second.look()
    assert len(second.view.rows) == 1


# snapshots


def test_profiles_of_all_live_workers_are_read(
    opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """Their latest, with each traceback written once."""
    stores = {pid: shared(opened()) for pid in (71, 72)}
    for number in (1, 2):
        for pid, store in stores.items():
            store.publish(told(pid, number))
    found = stores[71].profiles()
    assert [(one.worker.pid, one.snapshot) for one in found] == [(71, "71-2"), (72, "72-2")]
    assert found[0].rows == told(71).profile.rows
    with opened().reading() as connection:
        assert connection.execute("SELECT count(*) FROM stack").fetchone() == (1,)


def test_tracebacks_that_no_snapshot_has_are_thrown_away(
    opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """Past the cap; and a worker that has written one before writes it again."""
    one, other = Stacks(tuple), Stacks(tuple)
    shared(opened()).publish(told(71))
    with opened().transaction() as connection:
        (number,) = connection.execute("SELECT id FROM worker").fetchone()
        for start in range(0, STACKS + 100, 400):
            lines = range(start, start + 400)
            one.put(connection, number, start + 2, _profile(told(71).profile, lines))
        other.put(connection, number, STACKS * 2, _profile(told(71).profile, range(10)))
        pruning.prune(connection)
        (left,) = connection.execute("SELECT count(*) FROM stack").fetchone()
        assert left == 10
        one.put(connection, number, STACKS * 2 + 1, _profile(told(71).profile, range(5)))
        ((latest,), *_) = [profiles.read(connection, {number: told(71).status.worker})]
    assert len(latest.rows) == 5


def _profile(one: Profile, lines: range) -> Profile:
    rows = tuple(Live("GET /a", (Frame("shop.py", line + 1, "view"),), 100, 1) for line in lines)
    return replace(one, rows=rows, snapshot=f"s{lines}")


def test_what_is_past_the_caps_is_forgotten(
    opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """Those that ended longest ago go first, and the oldest snapshots of the living."""
    store = shared(opened())
    for number in range(1, pruning.SNAPSHOTS + 5):
        store.publish(told(71, number))
    with opened().transaction() as connection:
        for pid in range(pruning.ENDED + 20):
            connection.execute(
                "INSERT INTO worker (host, pid, release, seen_at, ended_at, status, seen) "
                "VALUES ('h', ?, ?, 1, ?, '{}', 'x')",
                (pid, f"version {pid % 40}", pid + 1),
            )
            connection.execute("INSERT OR IGNORE INTO visits VALUES ('a', ?, 1)", (f"v {pid}",))
        connection.execute("INSERT INTO visits VALUES ('a', '', 99)")
        connection.execute("INSERT INTO command (worker, asked_at, request) VALUES (1, 5, '[]')")
        pruning.prune(connection)
        (ended, first) = connection.execute(
            "SELECT count(*), min(pid) FROM worker WHERE ended_at IS NOT NULL"
        ).fetchone()
        (seen,) = connection.execute("SELECT count(*) FROM worker WHERE seen = 'x'").fetchone()
        (snapshots,) = connection.execute("SELECT count(*) FROM snapshot").fetchone()
        releases = connection.execute("SELECT count(DISTINCT release) FROM visits").fetchone()
        commands = connection.execute("SELECT count(*) FROM command").fetchone()
    assert (ended, first, seen) == (pruning.ENDED, 20, pruning.ENDED_SEEN)
    assert snapshots == pruning.SNAPSHOTS
    assert releases[0] <= pruning.RELEASES + 1
    assert commands == (0,)


# commands


def test_a_command_is_taken_once_and_answered(
    opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """By the worker that it is for."""
    first, second = shared(opened()), shared(opened())
    first.publish(told(71))
    second.publish(told(72))
    asker, one, other = Commands(opened()), Commands(opened()), Commands(opened())
    request = Request("POST", "/api/gc/collect", "worker=this")
    left = asker.leave([first.me, second.me], request)
    assert asker.replies(left) == {}
    ((command, taken),) = one.take(first.me)
    assert (command, taken) == (left[0], request)
    assert one.take(first.me) == []
    one.answer(command, Reply(200, "{}"))
    ((command, _),) = other.take(second.me)
    other.answer(command, Reply(200, "x" * (5 << 20)))
    replies = asker.replies(left)
    assert replies[left[0]] == Reply(200, "{}")
    assert replies[left[1]].status == 507


def test_a_worker_that_nobody_asks_does_not_ask_the_store(
    opened: Callable[[], Database], told: Callable[..., Told]
) -> None:
    """It looks once; from then on after each ring, until it could read what there is."""
    store, asker, worker = shared(opened()), Commands(opened()), Commands(broken := opened())
    store.publish(told(71))
    assert worker.take(store.me) == []
    broken.close()
    broken.file = broken.file / "nowhere"
    assert worker.take(store.me) == []
    asker.leave([store.me], Request("GET", "/api/gc"))
    with pytest.raises(StoreError):
        worker.take(store.me)
    broken.file = broken.file.parent
    assert len(worker.take(store.me)) == 1


def test_each_ring_is_another_sound(file: Path) -> None:
    """However many there are; the bell does not grow for ever."""
    file.parent.mkdir(exist_ok=True)
    bell, other = Bell(file), Bell(file)
    sounds = [other.sound()]
    for _ in range(10_000):
        bell.ring()
        sounds.append(other.sound())
    assert all(one != following for one, following in pairwise(sounds))
    (rung,) = file.parent.glob("*-bell")
    assert rung.stat().st_size <= MOST_BYTES
    assert stat.S_IMODE(rung.stat().st_mode) == 0o600


def test_a_command_that_nobody_waits_for_is_not_run(
    opened: Callable[[], Database], told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was stopped for an hour does not collect then."""
    store, commands = shared(opened()), Commands(opened())
    store.publish(told(71))
    commands.leave([store.me], Request("POST", "/api/gc/collect"))
    later = time.time() + STALE_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert commands.take(store.me) == []


# how often


@pytest.mark.parametrize(
    ("lives", "alive", "every"),
    [
        ([], 1, 1000),
        ([500] * 4, 1, 1000),  # may be chance
        ([500] * 5, 1, 83),
        ([5000] * 5, 1, 833),
        ([50_000] * 5, 1, 1000),
        ([120] * 5, 1, 50),
        ([20] * 50, 1, 1000),  # those have not served
        ([], 3, 1000),
        ([], 4, 500),
        ([500] * 5, 8, 83),
    ],
)
def test_windows_are_as_long_as_workers_live(
    opened: Callable[[], Database], lives: list[int], alive: int, every: int
) -> None:
    """And shorter where many add theirs."""
    with opened().transaction() as connection:
        for number, visits in enumerate([*lives, *[0] * alive]):
            connection.execute(
                "INSERT INTO worker (host, pid, release, seen_at, ended_at, status, visits) "
                "VALUES ('h', ?, ?, 1, ?, '{}', ?)",
                (number, RELEASE, number + 1 if number < len(lives) else None, visits),
            )
        assert cadence.cadence(connection, RELEASE, 1000) == (every, max(1, alive))


def test_a_change_of_the_code_is_another_version(tmp_path: Path) -> None:
    """As far as it lies in the app's folder; a version that was given counts alone."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "views.py").write_text("")
    before = release.newest(tmp_path)
    for passed_over in (".venv", "node_modules", "site-packages"):
        (tmp_path / passed_over).mkdir()
        (tmp_path / passed_over / "new.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert release.newest(tmp_path) == before
    os.utime(tmp_path / "shop" / "views.py", ns=(before + 10**9, before + 10**9))
    assert release.newest(tmp_path) == before + 10**9
    assert release.release("1.4.2") == "version 1.4.2"

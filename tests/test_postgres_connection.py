"""What becomes of an operation of the PostgreSQL queue when its connection, its server or its dsn fails?"""

import select
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import closing, suppress

import psycopg
import psycopg_pool
import pytest

from ssq_core import OutcomeUnknown, QueueUnavailable, open_queue
from ssq_core.postgres import PostgresWorkerQueue
from ssq_stress.servers import Postgres
from ssq_verify.workplace import drained

WAIT_SECONDS_MAX = 60
SECRET = "hunter2-%2F"  # noqa: S105 - a test's own


@pytest.fixture(scope="module")
def server():
    """Start a server that these tests may stop and kill."""
    with Postgres(is_durable=False) as started:
        yield started


@pytest.fixture
def up(server):
    """Have the server running, with no table."""
    if not server.is_running:
        server.start()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS ssq_jobs")
    yield server
    if not server.is_running:
        server.start()


@pytest.fixture
def queue(up):
    """Give a handle on an empty queue."""
    opened = PostgresWorkerQueue(up.url)
    yield opened
    opened.close()


def end_sessions(url, *, doing):
    """Wait until a session of the queue does this, and let the server end it."""
    ours = f"FROM pg_stat_activity WHERE application_name = 'ssq' AND {doing}"
    ended = f"SELECT pg_terminate_backend(pid, 60000) {ours}"
    with psycopg.connect(url, autocommit=True) as admin:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not admin.execute(ended).fetchall() and time.monotonic() < deadline:
            pass


def is_one_line(error, *parts):
    """Whether an error's text is a line that has these parts."""
    text = str(error)
    return "\n" not in text and all(part in text for part in parts)


@pytest.mark.scenario("postgres-backend/statements-are-prepared-in-a-session-of-our-own")
def test_a_session_of_ones_own_prepares_its_statements(up, queue):
    """A claim is planned once; a pool's connection, which others use as well, is left as it is."""
    queue.enqueue("j1")
    queue.ack(claim=queue.claim(worker_id="w1"))
    with queue._database._pool.connection() as own:
        prepared = own.execute("SELECT statement FROM pg_prepared_statements", prepare=False).fetchall()
    with psycopg_pool.ConnectionPool(up.url, min_size=1, max_size=1) as pool:
        lent = PostgresWorkerQueue(pool=pool)
        lent.enqueue("j2")
        lent.ack(claim=lent.claim(worker_id="w1"))
        with pool.connection() as connection:
            there = connection.execute("SELECT name FROM pg_prepared_statements", prepare=False).fetchall()

    assert any("SKIP LOCKED" in statement for (statement,) in prepared)
    assert there == []


# Sessions that end


@pytest.mark.scenario("postgres-backend/a-session-that-ends-while-it-works-leaves-the-outcome-unknown")
@pytest.mark.parametrize("operation", ["enqueue", "ack", "release", "extend"])
def test_a_session_that_ends_while_it_works_leaves_the_outcome_unknown(up, queue, operation):
    """An operation waits for a lock when the server ends its session: nobody can say what came of it."""
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")
    calls = {
        "enqueue": lambda: queue.enqueue("j2"),
        "ack": lambda: queue.ack(claim=claim),
        "release": lambda: queue.release(claim=claim),
        "extend": lambda: queue.extend(claim=claim),
    }
    with psycopg.connect(up.url) as other:
        other.execute("LOCK TABLE ssq_jobs IN SHARE MODE")
        terminator = threading.Thread(
            target=end_sessions, args=(up.url,), kwargs={"doing": "wait_event_type = 'Lock'"}
        )
        terminator.start()
        with pytest.raises(OutcomeUnknown) as unknown:
            calls[operation]()
        terminator.join()

    assert is_one_line(unknown.value, operation, "table ssq_jobs at", "not known")
    assert (unknown.value.operation, unknown.value.where in str(unknown.value)) == (operation, True)
    queue.ack(claim=claim)
    assert drained(queue) == []


@pytest.mark.scenario("postgres-backend/a-session-that-ended-in-between-is-replaced")
@pytest.mark.parametrize("way", ["ended", "restarted", "killed"])
def test_a_session_that_ended_in_between_is_replaced(up, queue, way):
    """Between two operations the server ends the session, restarts or is killed: the second goes through."""
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")
    if way == "ended":
        end_sessions(up.url, doing="state = 'idle'")
    else:
        (up.restart if way == "restarted" else up.kill)()
        if not up.is_running:
            up.start()

    queue.enqueue("j2")

    queue.ack(claim=claim)
    assert drained(queue) == ["j2"]


class LostReplies:
    """Stands between client and server, and once told to, passes a request on and cuts before its reply."""

    def __init__(self, server_socket, own_socket):
        self._server_socket = server_socket
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(own_socket))
        self._listening.listen()
        self.is_cutting = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with client, socket.socket(socket.AF_UNIX) as server:
                    server.connect(str(self._server_socket))
                    self._pass_on(client, server)

    def _pass_on(self, client, server):
        while True:
            readable, _, _ = select.select([client, server], [], [], WAIT_SECONDS_MAX)
            for source, target in ((client, server), (server, client)):
                if source in readable:
                    received = source.recv(1 << 16)
                    if not received:
                        return
                    if source is server and self.is_cutting.is_set():
                        # What has been answered has been done.
                        return
                    target.sendall(received)

    def close(self):
        """Listen no more."""
        self._listening.close()


@pytest.mark.scenario("postgres-backend/a-reply-that-is-lost-leaves-the-outcome-unknown")
def test_a_reply_that_is_lost_leaves_the_outcome_unknown(up, queue, tmp_path_factory):
    """A claim is carried out and its reply is lost: it raises, and the job is held, once."""
    folder = tmp_path_factory.mktemp("p")
    with closing(LostReplies(up.folder / ".s.PGSQL.5432", folder / ".s.PGSQL.5432")) as between:
        cut_off = PostgresWorkerQueue(f"postgresql://postgres@/postgres?host={folder}&port=5432")
        # From now on a claim is one request: it has been prepared.
        assert cut_off.claim(worker_id="w1") is None
        queue.enqueue("j1")
        between.is_cutting.set()

        with pytest.raises(OutcomeUnknown, match="claim at table ssq_jobs at") as unknown:
            cut_off.claim(worker_id="w1")
        between.is_cutting.clear()
        held = queue.stats().claimed
        cut_off.enqueue("j2")
        cut_off.close()

    assert "claim again (a job that was taken unseen comes back when its lease ends)" in str(unknown.value)
    assert held == 1
    assert drained(queue) == ["j2"]


# Servers that are not there


@pytest.mark.scenario("postgres-backend/a-server-that-is-down-is-told-so")
def test_a_server_that_is_down_is_told_so(up, queue):
    """At open and later one line says what failed and where; once the server is back it works again."""
    queue.enqueue("j1")
    up.stop()

    with pytest.raises(QueueUnavailable) as later:
        queue.enqueue("j2")
    with pytest.raises(QueueUnavailable) as at_open:
        PostgresWorkerQueue(up.url)
    up.start()

    assert is_one_line(later.value, "enqueue at table ssq_jobs at", str(up.folder), "nothing was changed")
    assert is_one_line(at_open.value, "open at table ssq_jobs at", str(up.folder), "nothing was changed")
    assert drained(queue) == ["j1"]


@pytest.mark.scenario("postgres-backend/what-the-server-refuses-changes-nothing")
def test_what_the_server_refuses_changes_nothing(up, queue):
    """A session that may only read gets the server's reason, and the queue is as before."""
    reads = PostgresWorkerQueue(f"{up.url}&options=-c%20default_transaction_read_only%3Don")

    with pytest.raises(QueueUnavailable, match=r"enqueue at .*read-only transaction; nothing was changed"):
        reads.enqueue("j1")

    reads.close()
    assert drained(queue) == []


@pytest.mark.scenario("postgres-backend/a-server-that-is-down-is-told-so")
def test_a_host_that_is_not_there_is_told_so():
    """Nobody listens there: one line, which names the host and the database."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(QueueUnavailable) as down:
            open_queue(f"postgresql://someone@127.0.0.1:{port}/jobs")

    assert is_one_line(down.value, f"open at table ssq_jobs at 127.0.0.1:{port}/jobs: ", "refused")


# Passwords and drivers


@pytest.mark.scenario("postgres-backend/a-wrong-password-is-told-not-shown")
def test_a_wrong_password_is_told_not_shown(up):
    """The refusal names the user; neither it nor what caused it has the password."""
    with psycopg.connect(up.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE someone LOGIN PASSWORD 'another'")
    try:
        with pytest.raises(QueueUnavailable) as refused:
            PostgresWorkerQueue(up.url.replace("postgres@", f"someone:{SECRET}@"))
    finally:
        with psycopg.connect(up.url, autocommit=True) as admin:
            admin.execute("DROP ROLE someone")

    told = "".join(traceback.format_exception(refused.value, chain=True))
    assert is_one_line(refused.value, "password authentication failed", "someone", "nothing was changed")
    assert "hunter2" not in told


@pytest.mark.scenario("postgres-backend/a-garbled-connection-string-is-not-shown")
@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "hunter2",
        "postgresql://someone:hunter2 2@host",
        "postgresql://someone:hunter2%zz@host/db",
        "postgresql://someone:hunter2/x@host/db",
        "postgresql://someone:123/hunter2@host/db",
        "postgresql://someone:a@hunter2@host/db",
        "host=h password='hunter2",
        "postgresql://h/db?passwort=hunter2",
    ],
)
def test_a_garbled_connection_string_is_not_shown(dsn):
    """It raises `ValueError` with what to write instead; what it holds stands nowhere."""
    with pytest.raises(ValueError, match=r"write postgresql://user@host:5432/database") as refused:
        open_queue(dsn) if dsn.startswith("postgresql") else PostgresWorkerQueue(dsn)

    assert "hunter2" not in "".join(traceback.format_exception(refused.value, chain=True))


@pytest.mark.scenario("postgres-backend/a-missing-driver-names-the-extra")
def test_a_missing_driver_names_the_extra():
    """Without psycopg the backend can't be imported, and says what to install."""
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "import ssq_core\n"
        "try: ssq_core.open_queue('postgresql://host/db')\n"
        "except ssq_core.MissingDriver as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stdout == "psycopg is not installed; pip install 'ssq[postgres]'\n"


def test_a_url_opens_the_queue(up):
    """`open_queue` takes the server's URL, under either of its schemes, and the backend's settings."""
    urls = (up.url, up.url.replace("postgresql:", "postgres:"))
    first, second = (open_queue(url, table="t") for url in urls)
    first.enqueue("j1")

    assert drained(second) == ["j1"]
    for queue in (first, second):
        queue.close()

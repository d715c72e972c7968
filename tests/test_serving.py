"""Does the command line find, or start, the server that a subject lives in, and leave it as it was?"""

import os
from dataclasses import dataclass, replace

import psycopg
import pytest

from ssq_stress import serving
from ssq_stress.servers import Postgres, Redis, ServerFailed, ServerNotInstalled
from ssq_stress.servers.given import given_postgres, given_redis
from ssq_verify import servers
from ssq_verify.profiles import PROFILES
from ssq_verify.servers import NoServer, Place
from ssq_verify.subject import load, without_password

PASSWORD = "hunter2"  # noqa: S105 - a test's own


@dataclass(frozen=True, kw_only=True)
class Given:
    """A database that is somebody's."""

    url: str
    """For a role that may make schemas, with its password."""
    admin: psycopg.Connection

    def contents(self):
        """Return the schemas and tables that are not PostgreSQL's own."""
        return self.admin.execute(
            "SELECT nspname, relname FROM pg_namespace LEFT JOIN pg_class ON relnamespace = pg_namespace.oid"
            " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1, 2"
        ).fetchall()


@pytest.fixture
def given(postgres):
    """Make such a database."""
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE someone LOGIN PASSWORD '{PASSWORD}'")
        admin.execute("CREATE DATABASE given OWNER someone")
        with psycopg.connect(postgres.url.replace("/postgres?", "/given?"), autocommit=True) as inside:
            url = postgres.url.replace("postgres@/postgres", f"someone:{PASSWORD}@/given")
            yield Given(url=url, admin=inside)
        admin.execute("DROP DATABASE given WITH (FORCE)")
        admin.execute("DROP ROLE someone")


@pytest.fixture
def few_runs(monkeypatch):
    """Let a verification come to an end sooner."""
    quick = PROFILES["quick"]
    effort = replace(quick.effort, examples=60)
    monkeypatch.setitem(PROFILES, "quick", replace(quick, effort=effort, tries_max=200))


@pytest.mark.scenario("servers/a-subject-with-a-server-needs-nothing-set-up")
def test_a_subject_with_a_server_needs_nothing_set_up(ssq, tmp_path, monkeypatch):
    """All that workers in turns can show holds, and the rest is left to stress."""
    monkeypatch.delenv("SSQ_POSTGRES_URL", raising=False)

    code, out, error = ssq("verify", "postgres", "--out", tmp_path / "out")

    assert (code, error) == (0, "")
    assert "12 holds · 2 needs stress" in out
    assert "not simulated: its state is in a server (postgres); races and crashes rest on stress alone" in out
    assert "SSQ_POSTGRES_URL" not in os.environ


@pytest.mark.scenario("servers/a-given-server-is-left-as-it-was")
@pytest.mark.scenario("servers/a-password-is-not-shown")
@pytest.mark.usefixtures("few_runs")
@pytest.mark.parametrize("named", ["argument", "environment"])
def test_a_given_server_is_left_as_it_was(ssq, tmp_path, monkeypatch, given, named):
    """The same runs have the same verdicts there; no schema remains, and the password is nowhere."""
    if named == "environment":
        monkeypatch.setenv("SSQ_POSTGRES_URL", given.url)
    before = given.contents()

    code, out, error = ssq("verify", given.url if named == "argument" else "postgres")

    assert (code, error) == (0, "")
    assert "12 holds · 2 needs stress" in out
    assert given.contents() == before
    assert PASSWORD not in out
    for path in tmp_path.rglob("*"):
        assert PASSWORD not in str(path)
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes()


@pytest.mark.scenario("servers/a-server-that-can-t-be-had-is-one-line")
def test_a_server_that_refuses_is_one_line(ssq, is_one_line, given):
    """A wrong password is told with where it was tried, and not shown."""
    code, out, error = ssq("verify", given.url.replace(PASSWORD, "hunter3"))

    assert code == 64
    assert is_one_line(error, "password authentication failed", "given")
    assert "hunter3" not in out + error


@pytest.mark.scenario("servers/a-server-that-can-t-be-had-is-one-line")
@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgresql://me:hunter3@127.0.0.1:1/x", ["127.0.0.1:1/x", "refused", "is the server up"]),
        ("redis://me:hunter3@127.0.0.1:1/0", ["127.0.0.1:1/0", "is the server up"]),
        ("mysql://me:hunter3@db/x", ["mysql://me@db/x", "no subject lives there; name a postgresql:// or"]),
    ],
)
def test_a_server_that_is_away_is_one_line(ssq, is_one_line, url, parts):
    """Where nothing listens, and where no subject lives, that is told without the password."""
    code, out, error = ssq("verify", url)

    assert code == 64
    assert is_one_line(error, *parts)
    assert "hunter3" not in out + error


@pytest.mark.scenario("servers/a-server-that-can-t-be-had-is-one-line")
def test_a_server_without_the_right_to_a_schema_is_one_line(ssq, is_one_line, given):
    """A user that may log in and make no schema is told what is asked of the database."""
    given.admin.execute("ALTER DATABASE given OWNER TO postgres")

    code, _, error = ssq("stress", given.url, "--for", "1s")

    assert code == 64
    assert is_one_line(error, "permission denied for database given", "may make a schema")


@pytest.mark.scenario("servers/a-given-server-goes-away")
def test_a_given_server_that_went_away_is_one_line():
    """What can't be removed any more is named, with the statement that removes it."""
    with (
        Postgres(is_durable=False) as server,
        pytest.raises(ServerFailed) as left,
        given_postgres(server.url, has_clock=False) as place,
    ):
        server.kill()

    assert f"what was made there is left: run DROP SCHEMA {place.area} CASCADE" in str(left.value)


@pytest.mark.scenario("servers/a-given-server-goes-away")
def test_a_given_redis_that_went_away_is_one_line():
    """The same of the keys."""
    with (
        Redis(is_durable=False) as server,
        pytest.raises(ServerFailed) as left,
        given_redis(server.url, has_clock=False) as place,
    ):
        server.kill()

    assert f"what was made there is left: run UNLINK on the keys {{{place.area}*" in str(left.value)


@pytest.mark.scenario("servers/a-server-that-can-t-be-had-is-one-line")
def test_a_server_that_is_not_installed_is_one_line(ssq, is_one_line, monkeypatch):
    """It says which extra has it."""

    def missing(**_):
        raise ServerNotInstalled("PostgreSQL")

    monkeypatch.delenv("SSQ_POSTGRES_URL", raising=False)
    monkeypatch.setattr(serving, "OWN", {"postgres": missing})

    code, _, error = ssq("verify", "postgres")

    assert code == 64
    assert is_one_line(error, "PostgreSQL is not installed; pip install 'ssq[servers]'")


BROKEN = """
from ssq_verify.subject import subject
from ssq_verify.subjects import postgres


class AcksByJob:
    def __init__(self, queue):
        self._queue = queue
        self.claim, self.enqueue, self.close = queue.claim, queue.enqueue, lambda: None

    def ack(self, *, claim):
        with self._queue._queue._database._pool.connection() as connection:
            table = self._queue._queue._database.table.quoted
            connection.execute(f"DELETE FROM {table} WHERE job_id = %s", [claim.job_id.encode()])


@subject(promises=postgres.open_queue.ssq_promises, server="postgres")
def open_queue(workdir, policy):
    return AcksByJob(postgres.open_queue(workdir, policy))
"""


@pytest.mark.usefixtures("few_runs")
def test_a_queue_of_somebody_else_on_a_server_is_judged(ssq, is_one_line, tmp_path, monkeypatch):
    """Its defect is found and shrunk, and its repro replays; a script can't set a server's clock."""
    monkeypatch.delenv("SSQ_POSTGRES_URL", raising=False)
    (tmp_path / "broken.py").write_text(BROKEN)

    code, out, _ = ssq("verify", "broken.py:open_queue", "--out", "out")
    again, _, _ = ssq("replay", "out/repros/fencing.json")
    refused, _, error = ssq("replay", "out/repros/fencing.json", "--script", "script.py")

    assert (code, again, refused) == (1, 1, 64)
    assert "ssq replay out/repros/fencing.json" in out
    assert is_one_line(error, "script.py: no script: its queue lives in a server")
    assert not (tmp_path / "script.py").exists()


def test_a_server_that_nobody_knows_is_one_line(ssq, is_one_line, tmp_path):
    """A subject that names another server is told which there are."""
    (tmp_path / "mine.py").write_text(BROKEN.replace('server="postgres"', 'server="mysql"'))

    code, _, error = ssq("verify", "mine.py:open_queue")

    assert code == 64
    assert is_one_line(error, "mysql: no such server; name postgres or redis in @subject(server=...)")


# References and places


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("postgres", "postgres"),
        ("my.py:open_queue", "my.py:open_queue"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:hunter2@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://me:a@hunter2@host/db", "postgresql://me@host/db"),
        ("postgresql://me:hunter2/x@host/db", "postgresql://me@host/db"),
        (
            "postgresql://host/db?user=me&password=hunter2&a=b",
            "postgresql://host/db?user=me&password=...&a=b",
        ),
        ("postgresql://host/db?sslpassword=hunter2", "postgresql://host/db?sslpassword=..."),
    ],
)
@pytest.mark.scenario("servers/a-password-is-not-shown")
def test_a_reference_is_shown_without_its_password(reference, shown):
    """All of a URL but the password is kept."""
    assert without_password(reference) == shown


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_url_leads_to_the_subject_of_its_server(scheme):
    """The subject is that of the scheme, under the URL's name."""
    found = load(f"{scheme}://me:{PASSWORD}@host/db")

    assert (found.reference, found.server) == (f"{scheme}://me@host/db", "postgres")
    assert found.factory is load("postgres").factory


def test_a_place_goes_through_the_environment(monkeypatch):
    """What is written there is read back, and where nothing is, it is said what to do."""
    for place in (Place(url="u"), Place(url="u", area="a", clock="c")):
        for name, value in servers.environment("postgres", place).items():
            monkeypatch.setenv(name, value)
        assert servers.place("postgres") == place
    monkeypatch.delenv("SSQ_POSTGRES_URL")

    with pytest.raises(NoServer, match="SSQ_POSTGRES_URL is not set; `ssq verify postgres` starts a server"):
        servers.place("postgres")

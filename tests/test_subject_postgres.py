"""Do the PostgreSQL subjects promise what their servers keep?"""

import sys

import psycopg
import pytest

from ssq_core.postgres import PostgresWorkerQueue
from ssq_stress.servers import Postgres
from ssq_stress.serving import served
from ssq_verify import servers
from ssq_verify.subject import NotInstalled, load

KILLS_MAX = 20


@pytest.mark.scenario("postgres-backend/a-subject-promises-what-its-server-keeps")
@pytest.mark.parametrize(
    ("name", "durability", "commit"), [("postgres", "power-loss", "on"), ("postgres-async", "none", "off")]
)
def test_a_subject_promises_what_its_server_keeps(monkeypatch, name, durability, commit):
    """Under stress each subject has a server that is set as its promise says."""
    monkeypatch.delenv("SSQ_POSTGRES_URL", raising=False)
    subject = load(name)

    with served(name, subject, in_turns=False), psycopg.connect(servers.place("postgres").url) as connection:
        found = connection.execute("SHOW synchronous_commit").fetchone()

    assert (subject.promises.durability, found) == (durability, (commit,))


def test_without_the_driver_it_says_what_brings_the_server_too(monkeypatch):
    """Who installs what a subject of ours asks for can try it with nothing else set up."""
    for module in ("ssq_verify.subjects.postgres", "ssq_core.postgres"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(NotInstalled, match=r"postgres is not installed; pip install 'ssq\[servers\]'"):
        load("postgres")


@pytest.mark.scenario("postgres-backend/a-killed-server-keeps-what-its-settings-say")
def test_a_killed_server_keeps_what_it_had_written():
    """By its defaults all that was answered is there after a SIGKILL."""
    with Postgres() as server:
        assert lost(server, 0) == set()


@pytest.mark.scenario("postgres-backend/a-killed-server-keeps-what-its-settings-say")
def test_a_killed_server_that_answers_first_is_seen_to_lose():
    """With `synchronous_commit=off` a SIGKILL of the server, too, undoes the last of it."""
    with Postgres(settings={"synchronous_commit": "off"}) as server:
        assert any(lost(server, kill) for kill in range(KILLS_MAX))


def lost(server, kill):
    """Enqueue jobs, kill the server at once, and return which of them are gone."""
    queue, jobs = PostgresWorkerQueue(server.url), {f"j{kill}-{number}" for number in range(20)}
    server.restart()  # the table is written down
    for job_id in jobs:
        queue.enqueue(job_id)
    server.kill()
    server.start()
    with psycopg.connect(server.url) as connection:
        return jobs - {job_id.decode() for (job_id,) in connection.execute("SELECT job_id FROM ssq_jobs")}

"""Does a client that tries again whatever its lost reply was about get caught, and only that one?"""

import uuid
from dataclasses import replace
from types import SimpleNamespace

import pytest
import redis as driver
from redis.backoff import NoBackoff
from redis.retry import Retry

from ssq_stress.faults import Fault
from ssq_stress.nemesis.server import NOT_OURS
from ssq_stress.runner import Plan, stress, unavailable
from ssq_stress.serving import served
from ssq_verify import history, servers
from ssq_verify.servers import Place
from ssq_verify.subject import Promises, Subject, load
from ssq_verify.verdict import Finding

RUNS_MAX = 3
PLAN = Plan(seconds=1.0, consumers=2, producers=1, faults=frozenset({Fault.CONNECTION_CUT}))


class Popping:
    """A list in Redis: a claim takes a job out for good."""

    def __init__(self, url, key, *, retries):
        # By default, redis-py tries three times itself.
        self._redis = driver.Redis.from_url(url, retry=Retry(NoBackoff(), retries))
        self._key = key

    def enqueue(self, job_id):
        """Put a job at the end."""
        self._redis.rpush(self._key, job_id)

    def claim(self, *, worker_id):
        """Take the first out."""
        job_id = self._redis.lpop(self._key)
        if job_id is None:
            return None
        claim_id = str(uuid.uuid4())
        return SimpleNamespace(job_id=job_id.decode(), claim_id=claim_id, worker_id=worker_id, attempt=1)

    def ack(self, *, claim):
        """Do nothing: it is out already."""


def popping(*, retries):
    """Return such a queue as a subject."""

    def factory(workdir, _policy):
        return Popping(servers.place("redis").url, str(workdir), retries=retries)

    promises = Promises(
        lease=False,
        fencing=False,
        extend=False,
        back_off=False,
        max_attempts=None,
        idempotent_enqueue=False,
        order=None,
    )
    return Subject(reference="popping", factory=factory, promises=promises, server="redis")


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    """Let no variable name a server, so that one is started."""
    for name in servers.environment("redis", Place(url="")):
        monkeypatch.delenv(name, raising=False)


def run(subject, out, seed=0, strikes=15):
    """Stress a subject while its connections are cut, and return the report and what was violated."""
    out.mkdir()
    plan = replace(PLAN, seed=seed, strikes=strikes)
    with served(subject.reference, subject, in_turns=False, has_relay=True) as server:
        report, _ = stress(subject, plan, out=out, server=server)
    return report, {each.invariant for each in report.verdicts if each.verdict is Finding.VIOLATED}


@pytest.mark.scenario("stress/a-client-that-tries-again")
def test_a_client_that_tries_again_is_caught(tmp_path):
    """A claim that is sent once more takes a second job, an enqueue adds a second: lost, or done twice."""
    for seed in range(RUNS_MAX):
        _, broken = run(popping(retries=1), tmp_path / str(seed), seed, strikes=40)
        if broken:
            break

    assert "linearizable" in broken


@pytest.mark.scenario("stress/a-client-that-tries-again")
def test_a_client_that_does_not_know_is_not_accused(tmp_path):
    """The same queue, whose client says that it does not know, is accused of nothing."""
    report, broken = run(popping(retries=0), tmp_path / "out")

    assert broken == set()
    assert report.tally["claim info"] > 0


@pytest.mark.scenario("stress/a-correct-queue-whose-connections-are-cut")
def test_a_correct_queue_outlives_its_connections(tmp_path):
    """While its connections are cut, `redis` breaks nothing, and each cut before they heal counts once."""
    report, broken = run(load("redis"), tmp_path / "out")
    names = [event.f for event in history.read(report.history).events]

    assert broken == set()
    assert sum(report.matrix.values()) == names[: names.index("heal")].count("connection-cut") > 0


@pytest.mark.scenario("stress/no-relay-before-a-given-server")
def test_a_given_servers_connections_are_not_cut(tmp_path):
    """Before a server that somebody gave, nothing of ours stands."""
    reasons = unavailable(load("redis"), PLAN, tmp_path)

    assert reasons == {Fault.CONNECTION_CUT: NOT_OURS}

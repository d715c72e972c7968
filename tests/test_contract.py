"""Do the backends of this package, and the model answer, keep the contract?"""

import re
import subprocess
import sys

import pytest

from ssq_core import RetryPolicy, utc_now
from ssq_verify.contract import LeaseQueueContract, ServerTimeContract
from ssq_verify.contract.suite import FOUND_BY_LOOKING, offers
from ssq_verify.subject import Policy, Promises, load, terms


class TestFile(LeaseQueueContract):
    """The file queue."""

    subject = "file"


class TestSqlite(LeaseQueueContract):
    """The SQLite queue."""

    subject = "sqlite"


@pytest.mark.usefixtures("postgres_subject")
class TestPostgres(ServerTimeContract):
    """The PostgreSQL queue."""

    subject = "postgres"


class TestMemory(LeaseQueueContract):
    """The queue that a reader compares others with."""

    subject = "memory"
    race_in = "threads"


OTHERS_QUEUES = '''
from ssq_core.queue import LeaseLost
from ssq_verify.subjects.memory import MemoryWorkerQueue, open_queue as model_answer


class Plain:
    """No payload, no extend, no dead letters, no counts."""

    def __init__(self, queue):
        self._queue = queue

    def enqueue(self, job_id):
        self._queue.enqueue(job_id)

    def claim(self, *, worker_id):
        return self._queue.claim(worker_id=worker_id)

    def ack(self, *, claim):
        self._queue.ack(claim=claim)

    def release(self, *, claim):
        self._queue.release(claim=claim)


class AcksByJob(Plain):
    """Whoever acks a job ends it, whoever holds it."""

    def ack(self, *, claim):
        self._queue._store.jobs.pop(claim.job_id, None)


class Careless(MemoryWorkerQueue):
    """Right for one job at a time, and wrong for many; nobody who waits is woken."""

    def enqueue_many(self, jobs):
        for job_id, payload in list(jobs):
            self.enqueue(job_id, payload=payload)

    def enqueue(self, job_id, *, payload=b""):
        super().enqueue_many([(job_id, payload)])

    def claim_many(self, limit, *, worker_id):
        taken = super().claim_many(max(limit, 1), worker_id=worker_id)
        return taken if limit == 1 else sorted(taken, key=lambda claim: claim.job_id)

    def ack_many(self, *, claims):
        for claim in claims:
            self.ack(claim=claim)

    def wait(self, *, seconds):
        return False


def open_plain(workdir, policy):
    return Plain(model_answer(workdir, policy))


def open_careless(workdir, policy):
    return Careless(model_answer(workdir, policy)._store, policy)


def open_broken(workdir, policy):
    return AcksByJob(model_answer(workdir, policy))
'''

OTHERS_TESTS = """
from ssq_verify.contract import LeaseQueueContract


class TestPlain(LeaseQueueContract):
    subject = "others.py:open_plain"
    race_in = "threads"
    not_offered = frozenset({"payload", "extend", "dead letters", "stats"})


class TestBroken(TestPlain):
    subject = "others.py:open_broken"


class TestCareless(LeaseQueueContract):
    subject = "others.py:open_careless"
    race_in = "threads"
"""


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Run the suite on two queues of somebody else, in a project of its own; return test names by outcome."""
    project = tmp_path_factory.mktemp("project")
    (project / "others.py").write_text(OTHERS_QUEUES)
    (project / "test_others.py").write_text(OTHERS_TESTS)
    (project / "conftest.py").write_text('pytest_plugins = ["ssq_verify.contract"]\n')
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--strict-markers",
        "-W",
        "error",
        "-rA",
        "-p",
        "no:cacheprovider",
    ]
    ended = subprocess.run(
        [*command, "--rootdir", "."], cwd=project, capture_output=True, text=True, check=False
    )
    outcomes = re.findall(r"^(PASSED|FAILED|SKIPPED|ERROR) (.*)$", ended.stdout, re.MULTILINE)
    assert outcomes, ended.stdout + ended.stderr
    return outcomes


@pytest.mark.scenario("lease-queue/a-plain-queue-is-held-to-what-it-has")
def test_a_plain_queue_passes_what_it_offers(others):
    """A queue of four operations passes in a strict project; what it lacks is skipped by name."""
    plain = [name for outcome, name in others if outcome == "PASSED" and "TestPlain" in name]
    skipped = " ".join(name for outcome, name in others if outcome == "SKIPPED")

    assert not [name for outcome, name in others if outcome in {"FAILED", "ERROR"} and "TestPlain" in name]
    assert len(plain) > 40
    assert not [name for name in plain if "extend" in name or "heartbeat" in name or "payload_comes" in name]
    for feature in ("extend", "payload", "dead letters", "stats", "batches", "wait"):
        assert f"not offered: {feature}" in skipped


@pytest.mark.scenario("lease-queue/a-queue-that-acks-by-job-fails")
def test_a_broken_queue_fails(others):
    """A queue that acks by job id fails each test of a stale ack, and only those of fencing."""
    failed = failed_of("TestBroken", others)

    assert "test_a_stale_claim_is_refused[superseded-ack]" in failed
    assert {name.partition("[")[0] for name in failed} == {
        "test_a_stale_claim_is_refused",
        "test_a_claim_of_nothing_is_refused",
        "test_beyond_the_skew_fencing_still_holds",
        "test_what_one_handle_did_another_sees",
    }


@pytest.mark.scenario("lease-queue/a-queue-that-is-careless-with-many-fails")
def test_a_queue_that_is_careless_with_many_fails(others):
    """A queue that is right for one job at a time fails each test of what it does wrong with many."""
    failed = failed_of("TestCareless", others)

    assert "test_a_number_of_jobs_that_no_call_can_take[-1]" in failed
    assert {name.partition("[")[0] for name in failed} == {
        "test_many_jobs_keep_their_order",
        "test_one_job_among_many_is_none",
        "test_live_jobs_among_many_are_passed_over",
        "test_a_number_of_jobs_that_no_call_can_take",
        "test_stale_claims_among_many_are_named",
        "test_current_claims_are_acked_around_a_stale_one",
        "test_more_than_a_call_can_claim",
        "test_a_job_is_there_already",
        "test_what_came_due_is_there_already",
        "test_who_waits_is_woken_by_an_enqueue",
        "test_who_waits_is_woken_by_a_release",
        "test_who_waits_is_woken_by_many",
        "test_a_lease_ends",
        "test_a_rest_ends",
        "test_a_time_that_nobody_can_wait",
    }


def failed_of(suite, others):
    """Return the tests of one of the suites that did not pass."""
    return [
        re.sub(r".*::(\S+).*", r"\1", name)
        for outcome, name in others
        if outcome in {"FAILED", "ERROR"} and suite in name
    ]


@pytest.mark.parametrize("suite", [TestMemory])
def test_batches_and_waits_are_really_tried(suite, tmp_path):
    """A queue of this package has the operations that the suite would else leave out by itself."""
    policy = Policy(lease_ttl_seconds=60, retry=RetryPolicy(), max_clock_skew_seconds=0, clock=utc_now)

    queue = load(suite.subject).factory(tmp_path, policy)

    assert [offers(queue, feature) for feature in FOUND_BY_LOOKING] == [True, True]


@pytest.mark.parametrize("suite", [TestFile, TestSqlite, TestMemory])
def test_our_own_queues_offer_everything(suite):
    """No test of the contract is skipped for a queue of this package."""
    assert suite.not_offered == frozenset()


@pytest.mark.scenario("lease-queue/what-the-object-lacks-is-found-by-looking")
def test_what_the_object_lacks_is_not_held_against_it():
    """Terms leave out the operations that a queue has not, and the payload that it does not take."""

    class Plain:
        def enqueue(self, job_id): ...

    policy = Policy(lease_ttl_seconds=60, retry=RetryPolicy(), max_clock_skew_seconds=0, clock=utc_now)

    held_to = terms(Promises(), policy, Plain())

    assert [held_to.extend, held_to.payload, held_to.dead_letters] == [False] * 3
    assert held_to.fencing
    assert held_to.max_attempts == 3

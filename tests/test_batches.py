"""Is a call with many jobs recorded, read and judged as that many operations of one worker at once?"""

# ruff: noqa: ARG002 - a queue that answers what it is told to does not look at what it is asked

import re
from types import SimpleNamespace

import pytest

from ssq_core.queue import InvalidJobId, LeaseLost, LeasesLost, OutcomeUnknown, QueueUnavailable
from ssq_verify import history as histories
from ssq_verify import judge
from ssq_verify.history import Event, EventType, History, InvalidHistory, Terms
from ssq_verify.notation import h, items
from ssq_verify.recording import Recorder, RecordingQueue
from ssq_verify.report.story import story
from ssq_verify.sightings import Sighting, sightings
from ssq_verify.subject import SubjectFailed
from ssq_verify.verdict import Finding

OK, FAIL, INFO = EventType.OK, EventType.FAIL, EventType.INFO
CLAIMS = [SimpleNamespace(job_id=f"j{number}", claim_id=f"id{number}", attempt=1) for number in range(3)]


def many(worker, f, *answers):
    """Return the items of one call with many jobs: all are called, then all come back."""
    lanes = [worker, *(f"{worker}+{lane}" for lane in range(1, len(answers)))]
    if f == "claim":
        called, back = [f"{lane} claim <" for lane in lanes], list(answers)
    else:
        called = [f"{lane} {f} {answer.split()[0]} <" for lane, answer in zip(lanes, answers, strict=True)]
        back = [answer.partition(" ")[2] for answer in answers]
    return "; ".join([*called, *(f"{lane} > {end}".strip() for lane, end in zip(lanes, back, strict=True))])


THREE = many("w1", "enqueue", "j1", "j2", "j3")
TAKEN = f"{THREE}; {many('w1', 'claim', 'j1#1', 'j2#1', 'j3#1')}"
LEFT = f"{many('w2', 'claim', 'j2#2', 'j3#2')}; {many('w2', 'ack', 'j2#2', 'j3#2')}"
ACKED = f"{TAKEN}; {many('w1', 'ack', 'j1#1', 'j2#1', 'j3#1')}"


class Many:
    """Answers each call with many jobs as it is told to."""

    def __init__(self, answer=None):
        self.answer = answer

    def enqueue(self, job_id, *, payload=b""):
        """Take payloads."""

    def enqueue_many(self, jobs):
        """Take all of them."""
        list(jobs)
        return self._answer()

    def claim_many(self, limit, *, worker_id):
        """Give what it is told to."""
        return self._answer()

    def ack_many(self, *, claims):
        """Take all of them."""
        list(claims)
        return self._answer()

    def _answer(self):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def recorded(answer=None):
    """Return a recorded queue and the events that it will write."""
    ticks = iter(range(0, 1_000_000, 1_000))
    recorder = Recorder(true_time_ns=lambda: next(ticks))
    return RecordingQueue(Many(answer), recorder, "w1"), recorder.events


def operations(events):
    """Return what each operation was about, and its outcome; the events are a valid history."""
    return [
        (each.lane, each.f, each.job_id, each.outcome) for each in History(events=tuple(events)).operations
    ]


def findings(line, **terms):
    """Return what is said of each invariant."""
    found = judge.judge(h(*items(line), terms=Terms(**terms)), ways=("log",))
    return {verdict.invariant: verdict.verdict for verdict in found}


def broken(line, **terms):
    """Return what a history breaks."""
    return {name for name, finding in findings(line, **terms).items() if finding is Finding.VIOLATED}


@pytest.mark.scenario("history/a-call-with-many-jobs")
def test_all_jobs_of_a_call_are_called_at_once():
    """Each has a lane; all are called before the queue is, and all come back after it."""
    queue, events = recorded()

    queue.enqueue_many((job_id, b"x") for job_id in ("a", "b"))

    assert [(event.type, event.lane) for event in events] == [
        (EventType.INVOKE, 0),
        (EventType.INVOKE, 1),
        (OK, 0),
        (OK, 1),
    ]
    assert [event.value for event in events] == ["eA==", "eA==", None, None]
    assert operations(events) == [(0, "enqueue", "a", OK), (1, "enqueue", "b", OK)]


@pytest.mark.scenario("history/a-call-with-many-jobs")
def test_what_was_not_given_was_not_there():
    """Of three that were asked for and two that were given, the third found nothing."""
    queue, events = recorded(CLAIMS[:2])

    assert queue.claim_many(3, worker_id="w1") == CLAIMS[:2]

    assert operations(events) == [(0, "claim", "j0", OK), (1, "claim", "j1", OK), (2, "claim", None, OK)]


@pytest.mark.scenario("history/a-call-with-many-jobs")
def test_claims_that_were_lost_are_refused_and_others_acked():
    """`LeasesLost` names those that fail with `LeaseLost`; it comes through to the caller."""
    queue, events = recorded(LeasesLost([CLAIMS[1]]))

    with pytest.raises(LeasesLost):
        queue.ack_many(claims=iter(CLAIMS))

    assert [outcome for *_, outcome in operations(events)] == [OK, FAIL, OK]
    assert [event.value[:9] for event in events if event.type is FAIL] == ["LeaseLost"]


@pytest.mark.scenario("history/a-call-with-many-jobs")
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InvalidJobId("", "it is empty"), FAIL),
        (QueueUnavailable("ack", "db", "away"), FAIL),
        (OutcomeUnknown("ack", "db", "reset"), INFO),
        (LeaseLost("j1", "id1"), INFO),
        (OSError("disk full"), INFO),
    ],
)
def test_an_error_is_one_of_all_jobs(error, outcome):
    """Only what promises that nothing was changed is certain; one job's `LeaseLost` tells of no other."""
    queue, events = recorded(error)

    with pytest.raises(type(error)):
        queue.ack_many(claims=CLAIMS)

    assert [each for *_, each in operations(events)] == [outcome] * 3


def test_a_kill_leaves_all_jobs_of_a_call_open():
    """Who dies in a call leaves an unknown outcome for each of its jobs, and the death ends all of them."""
    queue, events = recorded(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        queue.ack_many(claims=CLAIMS)
    crash = Event(index=len(events), time_ns=events[-1].time_ns, worker="w1", type=INFO, f="crash")
    again = Event(index=crash.index + 1, time_ns=crash.time_ns, worker="w1", type=EventType.INVOKE, f="claim")

    assert [each for *_, each in operations([*events, crash, again])] == [INFO] * 4


def test_no_jobs_are_no_operation():
    """A call with no jobs leaves nothing in the history."""
    queue, events = recorded()

    queue.enqueue_many([])
    queue.ack_many(claims=[])

    assert events == []


def test_more_than_was_asked_for_is_no_answer():
    """A queue that gives more claims than were asked for is told so."""
    queue, _ = recorded(CLAIMS)

    with pytest.raises(SubjectFailed, match="3 claims where 2"):
        queue.claim_many(2, worker_id="w1")


@pytest.mark.scenario("history/lanes-out-of-place")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("w1+1 claim -", "lane 1 is not the next of an open claim"),
        ("w1 claim <; w1+2 claim <", "lane 2 is not the next"),
        ("w1 claim <; w1+1 claim <; w1+1 claim <", "lane 1 is not the next"),
        ("w1 ack j1 <; w1+1 claim <", "lane 1 is not the next of an open claim"),
        ("w1 claim <; w1+1 claim <; w1 > -; w1 claim -", "w1 has an open claim"),
    ],
)
def test_lanes_out_of_place(line, said):
    """A lane opens after the one before it in the same call, and a call after all lanes of the last one."""
    with pytest.raises(InvalidHistory, match=said):
        h(*items(line))


@pytest.mark.scenario("history/a-call-with-many-jobs")
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_lanes_are_kept_in_a_file(tmp_path, suffix):
    """Read again, the history is the same one; a single operation's line does not name its lane."""
    history, path = h(*items(f"{ACKED}; w2 claim -")), tmp_path / f"history{suffix}"

    histories.write(history, path)

    assert histories.read(path) == history
    if suffix == ".jsonl":
        assert [b"lane" in line for line in path.read_bytes().splitlines()[-2:]] == [False, False]


@pytest.mark.scenario("history/a-call-with-many-jobs")
@pytest.mark.parametrize(
    "line",
    [
        ACKED,
        f"{TAKEN}; +61s; {many('w2', 'claim', 'j1#2', 'j2#2')}; {many('w1', 'ack', 'j1#1 !lost', 'j3#1')}",
        f"{THREE}; w1 claim <; w1+1 claim <; w1 dies; +61s; w2 claim j1#2; w2 claim j2#1; w2 claim j3#1",
        f"{THREE}; {many('w1', 'claim', 'j1#1', 'j2#1')}; w2 claim j3#1",
        f"w1 enqueue j1; {many('w1', 'claim', 'j1#1', '-', '-')}; {many('w2', 'claim', '-', '-')}",
        many("w1", "enqueue", "j1", "j1") + "; w1 claim j1#1; w1 claim -",
        f"{TAKEN}; w1 ack j1#1 <; w1+1 ack j2#1 <; w1 dies; +61s; {LEFT}; heal; drained",
    ],
)
def test_right_histories_are_accepted(line):
    """What a queue may answer to many at once breaks nothing."""
    assert broken(line) == set()


@pytest.mark.scenario("history/a-call-with-many-jobs")
@pytest.mark.parametrize(
    ("line", "invariant"),
    [
        pytest.param(f"{THREE}; {many('w1', 'claim', 'j1#1', 'j1#2')}", "linearizable", id="one job twice"),
        pytest.param(f"{TAKEN}; {many('w2', 'claim', '-', 'j2#2')}", "no-early-reclaim", id="a held one"),
        pytest.param(
            f"{TAKEN}; +61s; w2 claim j1#2; {many('w1', 'ack', 'j1#1', 'j2#1')}", "fencing", id="a stale one"
        ),
        pytest.param(
            f"{TAKEN}; +61s; {many('w2', 'claim', 'j1#1', 'j2#2')}", "bounded-retries", id="not counted"
        ),
        pytest.param(f"{ACKED}; {many('w2', 'claim', 'j3#2', '-')}", "no-resurrection", id="an acked one"),
        pytest.param(
            f"{THREE}; w1 claim j1#1; w1 ack j1#1; w1 claim j2#1; w1 ack j2#1; w1 claim -; heal; drained",
            "no-lost-job",
            id="the last one lost",
        ),
        pytest.param(f"{THREE}; {many('w1', 'claim', 'j1#1', '-')}", "progress", id="too few"),
        pytest.param(f"{THREE}; {many('w1', 'claim', '-', '-')}", "progress", id="none"),
        pytest.param(
            f"w1 enqueue j1; w1 claim j1#1; w1 dies; +61s; {many('w2', 'claim', '-', '-')}",
            "reclaim-on-expiry",
            id="an expired one left",
        ),
        pytest.param(
            f"{THREE}; w1 enqueue j4; {many('w2', 'claim', 'j4#1', '-')}", "order", id="a younger one"
        ),
    ],
)
def test_wrong_histories_are_rejected(line, invariant):
    """What goes wrong with one job among many is seen, by the invariant that names it."""
    assert invariant in broken(line)


@pytest.mark.parametrize(
    ("claims", "order", "accused"),
    [
        (("j3#1", "-"), "fifo", True),
        (("j3#1", "-"), "fifo-relaxed", True),
        (("j3#1", "-", "-"), "fifo-relaxed", False),
    ],
)
def test_who_claims_many_may_pass_over_as_many(claims, order, accused):
    """A relaxed order is to within the claims that can be under way at once, enqueues not among them."""
    backlog = f"w1 enqueue j1; w1 enqueue j2; w1 enqueue j3; {many('w1', 'enqueue', 'j4', 'j5', 'j6')}"
    line = f"{backlog}; {many('w1', 'claim', *claims)}"

    assert ("order" in broken(line, order=order)) is accused


def test_a_claim_that_found_less_beside_another_call_is_not_accused():
    """Only its own jobs are no noise: another worker's call may have been in the way."""
    line = f"{THREE}; w2 enqueue j4 <; {many('w1', 'claim', 'j1#1', '-')}; w2 >"

    assert "progress" not in broken(line)


def test_a_kill_in_a_call_with_many_counts_once():
    """What was exercised is counted in calls and deaths."""
    history = h(*items(f"{THREE}; w1 claim <; w1+1 claim <; w1+2 claim <; w1 dies; w2 dies"))

    seen = judge.evidence_on(history, "not-vacuous").seen

    assert (seen["kills inside claim"], seen["workers dead between operations"]) == (1, 1)


def test_jobs_of_one_call_are_not_beside_each_other():
    """Situations of two workers at once are not counted for one that takes many jobs."""
    line = f"{many('w1', 'claim', 'j1#1', 'j2#1')}; w1 claim <; w1+1 claim <; w1 dies; w1 claim -"
    seen = sightings(h(*items(line)))
    with_another = sightings(h("w2 claim <", *items(line), "w2 > -"))

    assert seen[Sighting.TWO_CLAIMS] == 0
    assert with_another[Sighting.TWO_CLAIMS] > 0


def test_a_story_shows_all_jobs_of_a_call_in_their_worker_s_column():
    """Lanes are no workers: a picture has one column for who called."""
    history = h(*items(f"{TAKEN}; +61s; w2 claim j1#2; {many('w1', 'ack', 'j1#1', 'j2#1')}"))
    violation = judge.violations(history, "fencing")[0]

    told = [line.plain.rstrip() for line in story(history, violation)]

    assert [line.split() for line in told if "w1" in line.split() and "w2" in line.split()] == [["w1", "w2"]]
    assert re.findall(r"claim (.*)→ (j\d)", "\n".join(told)) == [
        ("", "j1"),
        ("(+1) ", "j2"),
        ("(+2) ", "j3"),
        ("", "j1"),
    ]

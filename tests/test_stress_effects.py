"""Do side effects show what was done twice at once, and accuse nobody who only was late?"""

import pytest

from ssq_stress.processes.effects import Effect, Effects, compared, read, shard
from ssq_verify.history import Terms
from ssq_verify.notation import h

SECOND = 1_000_000_000
TERMS = Terms(lease_ttl_seconds=60.0, max_clock_skew_seconds=1.0)


def effect(f, claim, worker, at):
    """Return one line of job j1's file, at so many seconds after the history's first event."""
    return Effect(job_id="j1", claim_id=claim, worker=worker, f=f, time_ns=at)


def claims_of(history):
    """Return the claims of a history with the times of their answers."""
    return [(each.claim_id, each.ret_ns) for each in history.operations if each.f == "claim"]


@pytest.mark.scenario("stress/done-twice-at-once")
def test_two_at_once_is_a_clash():
    """Two executions that overlap while the first one's lease runs clash; both claims are the witness."""
    history = h("w1 enqueue j1", "w1 claim j1#1", "+5s", "w2 claim j1#2", terms=TERMS)
    (first, first_ns), (second, second_ns) = claims_of(history)
    found = compared(
        history,
        [
            [
                effect("begin", first, "w1", first_ns + 1),
                effect("begin", second, "w2", second_ns + 1),
                effect("end", first, "w1", second_ns + SECOND),
            ]
        ],
    )

    assert found.executions == 2
    assert [len(clash.witness) for clash in found.clashes] == [2]
    assert "w2 began" in found.clashes[0].sentence


@pytest.mark.scenario("stress/outlived")
def test_late_is_no_clash():
    """Who goes on after its lease has ended is counted, and not accused."""
    history = h("w1 enqueue j1", "w1 claim j1#1", "+62s", "w2 claim j1#2", terms=TERMS)
    (first, first_ns), (second, second_ns) = claims_of(history)
    found = compared(
        history, [[effect("begin", first, "w1", first_ns + 1), effect("begin", second, "w2", second_ns + 1)]]
    )

    assert (found.clashes, found.outlived) == ((), 1)


@pytest.mark.scenario("stress/begun-too-late")
def test_who_begins_after_its_lease_is_not_accused():
    """Who slept through its lease, and begins while the next holder works, is counted, and not accused."""
    history = h("w1 enqueue j1", "w1 claim j1#1", "+62s", "w2 claim j1#2", terms=TERMS)
    (first, _), (second, second_ns) = claims_of(history)
    found = compared(
        history,
        [[effect("begin", second, "w2", second_ns + 1), effect("begin", first, "w1", second_ns + SECOND)]],
    )

    assert (found.clashes, found.outlived) == ((), 1)


@pytest.mark.parametrize(("fencing", "clashes"), [(False, 0), (True, 1)])
def test_a_late_extend_that_nothing_fences_kept_no_lease(fencing, clashes):
    """Where any extend may return ok, one after the lease's end does not show that the lease went on."""
    terms = Terms(lease_ttl_seconds=60.0, max_clock_skew_seconds=1.0, fencing=fencing)
    history = h(
        "w1 enqueue j1", "w1 claim j1#1", "+62s", "w2 claim j1#2", "+5s", "w1 extend j1#1", terms=terms
    )
    (first, first_ns), (second, second_ns) = claims_of(history)
    found = compared(
        history, [[effect("begin", first, "w1", first_ns + 1), effect("begin", second, "w2", second_ns + 1)]]
    )

    assert len(found.clashes) == clashes


@pytest.mark.parametrize(("fencing", "clashes"), [(False, 0), (True, 1)])
def test_a_late_release_that_nothing_fences_ends_the_job_for_all(fencing, clashes):
    """Where a release names the job alone, whoever comes next takes it by right from who still has it."""
    terms = Terms(lease_ttl_seconds=60.0, max_clock_skew_seconds=1.0, fencing=fencing)
    history = h(
        "w1 enqueue j1",
        "w1 claim j1#1",
        "+62s",
        "w2 claim j1#2",
        "w1 release j1#1",
        "w3 claim j1#3",
        terms=terms,
    )
    _, (second, second_ns), (third, third_ns) = claims_of(history)
    found = compared(
        history, [[effect("begin", second, "w2", second_ns + 1), effect("begin", third, "w3", third_ns + 1)]]
    )

    assert len(found.clashes) == clashes


def test_a_dead_holder_works_no_more():
    """Who died while it worked did not work on, although it never wrote that it ended."""
    history = h("w1 enqueue j1", "w1 claim j1#1", "w1 dies", "+5s", "w2 claim j1#2", terms=TERMS)
    (first, first_ns), (second, second_ns) = claims_of(history)
    found = compared(
        history, [[effect("begin", first, "w1", first_ns), effect("begin", second, "w2", second_ns + 1)]]
    )

    assert (found.clashes, found.outlived, found.executions) == ((), 0, 2)


def test_beyond_the_bound_nobody_has_a_right():
    """Where clocks differed by more than was promised, a job may run twice at once."""
    history = h("w1 enqueue j1", "w1 claim j1#1", "w2 clock +5s", "+5s", "w2 claim j1#2", terms=TERMS)
    (first, first_ns), (second, second_ns) = claims_of(history)
    found = compared(
        history, [[effect("begin", first, "w1", first_ns + 1), effect("begin", second, "w2", second_ns + 1)]]
    )

    assert (found.clashes, found.outlived) == ((), 1)


@pytest.mark.scenario("stress/a-claim-of-nobody")
def test_an_execution_needs_a_claim():
    """An execution under a claim that nobody was given is a clash."""
    found = compared(h("w1 enqueue j1", terms=TERMS), [[effect("begin", "c9", "w1", 0)]])

    assert ["nobody was given" in clash.sentence for clash in found.clashes] == [True]


def test_files_hold_what_was_written(tmp_path):
    """Lines come back as they were written, of a job whose name no file can have, too."""
    effects = Effects(tmp_path)
    effects.write("begin", job_id="a/b", claim_id="c1", worker="w1")
    effects.write("end", job_id="a/b", claim_id="c1", worker="w1")
    ((begin, end),) = read(tmp_path)

    assert (begin.f, end.f, begin.job_id) == ("begin", "end", "a/b")
    assert begin.time_ns <= end.time_ns


@pytest.mark.scenario("stress/a-cut-line-of-another")
def test_a_cut_line_spoils_no_other(tmp_path):
    """What a kill left of a line is dropped, and what others wrote to that file behind it is read."""
    jobs = [f"j{number}" for number in range(1_000)]
    first, second = [job for job in jobs if shard(job) == shard("j1")][:2]
    Effects(tmp_path).write("begin", job_id=first, claim_id="c1", worker="w1")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    Effects(tmp_path).write("begin", job_id=second, claim_id="c2", worker="w2")

    assert [[effect.job_id for effect in job] for job in read(tmp_path)] == [[second]]

"""Does the judge say of each history what can be said of it, and no more?"""

import importlib.util
import sys
from pathlib import Path

import duckdb
import pytest

from ssq_verify import invariants, judge
from ssq_verify.history import Header, History, Terms
from ssq_verify.notation import h, items
from ssq_verify.verdict import EXIT_OK, EXIT_UNDECIDED, EXIT_VIOLATED, Finding, exit_code

ROOT = Path(__file__).parents[1]
RICH = (
    "w1 clock +1s; w1 enqueue j1; w1 enqueue j2; w1 claim j1#1; w2 claim j2#1; w1 dies; +70s;"
    "w2 claim j1#2;"
    "w2 extend j1#2; w1 extend j1#1 !lost; w1 release j1#1 !lost; w1 ack j1#1 !lost; w2 release j1#2; +9s;"
    "w2 claim j2#2; w2 ack j2#2; w2 claim j1#3; w2 release j1#3; w2 claim -; heal; drained; dead j1;"
    "next run; w1 enqueue j1; w1 enqueue j2; w1 claim j1#1; w1 ack j1#1; w1 claim j2#1; w1 ack j2#1"
)
RICH_TERMS = Terms(max_clock_skew_seconds=1.0, backoff_base_seconds=1.0)


def verdicts(line, *, ways=("model",), **terms):
    """Return the verdicts by invariant."""
    found = judge.judge(h(*items(line), terms=Terms(**terms)), ways=ways)
    return {verdict.invariant: verdict for verdict in found}


def imitation(operations, seed):
    """Return the benchmark's history of a correct queue, with overlapping operations."""
    spec = importlib.util.spec_from_file_location("judge_benchmark", ROOT / "benchmarks/judge.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    events = tuple(module.Run(operations, seed).events())
    return History(header=Header(terms=module.TERMS), events=events)


@pytest.mark.scenario("invariants/one-verdict-each-in-one-order")
def test_one_verdict_each_in_one_order():
    """Every invariant has its verdict, always in the same order, whatever was asked for first."""
    history = h("w1 claim -")
    said = [verdict.invariant for verdict in judge.judge(history, ways=("model",))]
    some = judge.judge(history, ways=("model",), only=("not-vacuous", "fencing"))

    assert tuple(said) == judge.IDS
    assert [verdict.invariant for verdict in some] == ["fencing", "not-vacuous"]


def test_an_unknown_invariant_is_refused():
    """The message says which there are."""
    with pytest.raises(KeyError, match="fence: no such invariant; name some of single-claimer"):
        judge.judge(h(), ways=("model",), only=("fence",))


@pytest.mark.scenario("invariants/holds-says-how-much-was-exercised")
def test_holds_says_how_much_was_exercised():
    """A sequential run that exercised everything it can holds throughout, and says how often."""
    said = {v.invariant: v for v in judge.judge(h(*items(RICH), terms=RICH_TERMS), ways=("model",))}
    later = {name for name, verdict in said.items() if verdict.verdict is not Finding.HOLDS}

    assert later == {"durable", "not-vacuous"}
    assert {said[name].needs for name in later} == {"simulation"}
    assert exit_code(tuple(said.values())) == EXIT_OK
    assert said["fencing"].sentence == (
        "acks, releases and extends of claims no longer current: 3; none was accepted"
    )


@pytest.mark.scenario("invariants/violated-with-the-shortest-witness")
def test_violated_with_the_shortest_witness():
    """Of several violations the one with the fewest events is attached, and its sentence said."""
    line = "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#1; w9 enqueue j2; w1 claim j2#4"
    said = verdicts(line)["bounded-retries"]

    assert said.verdict is Finding.VIOLATED
    assert said.violation.job_id == "j2"
    assert said.sentence == said.violation.sentence
    assert exit_code((said,)) == EXIT_VIOLATED


@pytest.mark.scenario("invariants/what-is-not-promised-is-not-offered")
@pytest.mark.parametrize(
    ("terms", "names"),
    [
        ({"lease": False}, {"no-early-reclaim", "reclaim-on-expiry"}),
        ({"fencing": False}, {"fencing"}),
        ({"max_attempts": None}, {"bounded-retries"}),
        ({"back_off": False, "backoff_base_seconds": 9.0}, {"back-off"}),
        ({"order": None}, {"order"}),
        ({"durability": "process-crash"}, {"durable"}),
        ({"durability": "none"}, {"durable"}),
    ],
)
def test_what_is_not_promised_is_not_offered(terms, names):
    """It is neither passed nor failed, whatever the history shows."""
    terms = {"backoff_base_seconds": 1.0} | terms
    said = verdicts("w1 enqueue j1; w1 claim j1#1; w2 claim j1#1; w1 ack j1#1; w2 ack j1#1", **terms)

    assert {name for name, verdict in said.items() if verdict.verdict is Finding.NOT_OFFERED} == names


@pytest.mark.scenario("invariants/vacuous-after-nothing-happened")
def test_vacuous_after_nothing_happened():
    """Of a history in which nothing happened nothing holds."""
    said = verdicts("", backoff_base_seconds=1.0)
    holds = {name for name, verdict in said.items() if verdict.verdict is Finding.HOLDS}

    assert holds == set()
    assert exit_code(tuple(said.values())) == EXIT_UNDECIDED


@pytest.mark.scenario("invariants/what-needs-another-way-is-named")
def test_what_needs_another_way_is_named():
    """Power loss is out of a sequential run's reach, and no excuse for a simulation or a log."""
    needed = {ways: verdicts(RICH, ways=(ways,))["durable"].needs for ways in ("model", "simulation", "log")}

    assert needed == {"model": "simulation", "simulation": None, "log": None}


@pytest.mark.scenario("invariants/not-vacuous-names-what-is-missing")
def test_not_vacuous_names_what_is_missing():
    """What was not exercised is named; what is not offered is not asked for."""
    said = verdicts("w1 enqueue j1; w1 claim j1#1", max_attempts=None, extend=False)["not-vacuous"]

    assert said.verdict is Finding.VACUOUS
    assert said.needs is None
    assert "reclaims after expiry" in said.sentence
    assert "kills inside ack" in said.sentence
    assert "dead letters" not in said.sentence
    assert "extend" not in said.sentence


@pytest.mark.scenario("invariants/not-vacuous-counts-what-was-exercised")
def test_not_vacuous_counts_what_was_exercised():
    """With kills inside every operation too, everything was seen, and each is counted."""
    kills = "; next run; w1 enqueue j1 dies; w1 claim dies; w1 ack j#1 dies"
    kills += "; w1 release j#1 dies; w1 extend j#1 dies"
    history = h(*items(RICH + kills), terms=RICH_TERMS)
    (said,) = judge.judge(history, ways=("simulation",), only=("not-vacuous",))

    assert said.verdict is Finding.HOLDS
    assert said.sentence == (
        "reclaims after expiry: 2, acks of superseded claims: 1, releases of superseded claims: 1, "
        "extends of superseded claims: 1, dead letters: 1, empty claims: 1, releases: 2, extends: 1, "
        "workers dead between operations: 1, runs with skewed clocks: 1, kills inside ack: 1, "
        "kills inside claim: 1, kills inside enqueue: 1, kills inside extend: 1, kills inside release: 1"
    )


@pytest.mark.scenario("invariants/a-check-that-crashes-knows-nothing")
def test_a_check_that_crashes_knows_nothing(monkeypatch):
    """It is unknown, with the error named, and the others are still judged."""

    def crash(_history, invariant_id, **_):
        if invariant_id == "fencing":
            raise duckdb.OutOfMemoryException("could not allocate block")
        return ()

    monkeypatch.setattr(invariants, "violations", crash)
    said = verdicts(RICH)

    assert said["fencing"].verdict is Finding.UNKNOWN
    assert said["fencing"].sentence == (
        "the check itself failed: OutOfMemoryException: could not allocate block"
    )
    assert said["integrity"].verdict is Finding.HOLDS


def test_unknown_at_the_drain_s_limit():
    """A job that is unaccounted for when the drain was cut is neither lost nor safe."""
    said = verdicts("w1 enqueue j1; heal; drain-cut 40 polls")["no-lost-job"]

    assert said.verdict is Finding.UNKNOWN
    assert said.sentence == "run 0: the drain was cut after 40 polls"


@pytest.mark.scenario("invariants/a-correct-queue-is-not-accused")
@pytest.mark.parametrize("seed", range(2))
def test_a_correct_queue_is_not_accused(seed):
    """Thousands of overlapping operations of a correct queue, and no invariant accuses it."""
    said = judge.judge(imitation(15_000, seed), ways=("log",))

    assert [v.sentence for v in said if v.verdict in {Finding.VIOLATED, Finding.UNKNOWN}] == []
    assert {v.invariant for v in said if v.verdict is Finding.VACUOUS} <= {"durable", "not-vacuous"}


def test_long_histories_are_loaded_from_a_file(monkeypatch):
    """The way in does not change what is found."""
    history = imitation(1_500, 9)
    by_lists = [(v.invariant, v.verdict, v.sentence) for v in judge.judge(history, ways=("log",))]
    monkeypatch.setattr("ssq_verify.invariants.tables.LISTS_MAX", 10)
    invariants.forget()
    by_file = [(v.invariant, v.verdict, v.sentence) for v in judge.judge(history, ways=("log",))]

    assert by_lists == by_file


@pytest.mark.scenario("invariants/no-order-fits")
def test_no_order_fits():
    """A refusal that nothing explains breaks no SQL invariant, and the exact check."""
    said = verdicts("w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost; w1 release j1#1")

    assert {name for name, verdict in said.items() if verdict.verdict is Finding.VIOLATED} == {"linearizable"}
    assert "j1" in said["linearizable"].sentence
    assert said["linearizable"].violation.witness

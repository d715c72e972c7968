"""Is a history the same after a round trip, and is what no run can have produced refused by name?"""

import copy
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssq_verify import history as histories
from ssq_verify.history import Event, EventType, Header, History, InvalidHistory, Terms
from ssq_verify.notation import h

SAMPLE = h(
    "w1 enqueue j1 =text",
    "w2 clock -1.5s",
    "w1 claim j1#1",
    "w2 claim ?",
    "w1 ack j1#1 dies",
    "next run",
    "w1 claim -",
    "drain-cut 9 polls",
    terms=Terms(max_attempts=None, max_clock_skew_seconds=None, order=None),
)

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
singles = st.builds(
    lambda f, worker, value: {"type": EventType.INFO, "f": f, "worker": worker, "value": value},
    st.sampled_from(sorted(histories.FAULTS | histories.OBSERVATIONS)),
    names,
    st.none() | names,
)
calls = st.builds(
    lambda worker, job, attempt: {
        "type": EventType.INVOKE,
        "f": "ack",
        "worker": worker,
        "job_id": job,
        "claim_id": job,
        "attempt": attempt,
    },
    names,
    names,
    st.none() | st.integers(1, 9),
)


@st.composite
def any_history(draw):
    """Draw a history: calls of workers that each die of it, faults, observations."""
    events = []
    for number, fields in enumerate(draw(st.lists(singles | calls, max_size=8))):
        event = Event(index=len(events), time_ns=number, **fields)
        events.append(event)
        if event.type is EventType.INVOKE:
            events.append(
                Event(index=len(events), time_ns=number, worker=event.worker, type=EventType.INFO, f="crash")
            )
    return History(header=Header(subject=draw(names)), events=tuple(events))


def written(history, path):
    """Write a history and return its lines."""
    histories.write(history, path)
    return path.read_bytes().splitlines(keepends=True)


def refused(lines, tmp_path):
    """Return what is said of a file of these lines."""
    path = tmp_path / "refused.jsonl"
    path.write_bytes(b"".join(lines))
    with pytest.raises(InvalidHistory) as error:
        histories.read(path)
    return str(error.value)


def test_a_refusal_reaches_other_processes():
    """What a judge in a process of its own refuses is told to whoever asked."""
    # It is taken apart and put together as it is on its way there.
    refused = copy.copy(InvalidHistory("line 2", "cut"))

    assert (str(refused), refused.where, refused.reason) == ("line 2: cut", "line 2", "cut")


@pytest.mark.scenario("history/json-lines-round-trip")
def test_json_lines_round_trip(tmp_path):
    """What is read is what was written, and written again it is the same bytes."""
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    histories.write(SAMPLE, first)
    histories.write(histories.read(first), second)

    assert histories.read(first) == SAMPLE
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.scenario("history/parquet-round-trip")
def test_parquet_round_trip(tmp_path):
    """Header and events are the same after a way through Parquet."""
    path = tmp_path / "it's one.parquet"
    histories.write(SAMPLE, path)

    assert histories.read(path) == SAMPLE


@given(any_history())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_history_survives_both_forms(tmp_path_factory, history):
    """Whatever text stands in it, a history is the same after a round trip."""
    folder = tmp_path_factory.mktemp("history")
    for name in ("any.jsonl", "any.parquet"):
        histories.write(history, folder / name)

        assert histories.read(folder / name) == history


def test_an_empty_history_is_one(tmp_path):
    """A header alone is a history."""
    for name in ("empty.jsonl", "empty.parquet"):
        histories.write(History(), tmp_path / name)

        assert histories.read(tmp_path / name) == History()


@pytest.mark.scenario("history/another-program-writes-one")
def test_another_program_writes_one(tmp_path):
    """Plain JSON objects with the fields that apply are enough; the others have defaults."""
    lines = [
        {"ssq_history": 1},
        {"index": 0, "time_ns": 5, "worker": "a", "type": "invoke", "f": "enqueue", "job_id": "j"},
        {
            "index": 1,
            "time_ns": 9,
            "worker": "a",
            "type": "ok",
            "f": "enqueue",
            "colour": "unknown fields pass",
        },
    ]
    path = tmp_path / "other.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (enqueue,) = histories.read(path).operations

    assert (enqueue.job_id, enqueue.inv_ns, enqueue.ret_ns) == ("j", 5, 9)
    assert histories.read(path).terms == Terms()


@pytest.mark.scenario("history/cut-in-mid-line")
def test_cut_in_mid_line(tmp_path):
    """A file that ends within a line is refused, naming the line."""
    lines = written(SAMPLE, tmp_path / "whole.jsonl")
    lines[-1] = lines[-1][:10]

    assert refused(lines, tmp_path) == (
        f"line {len(lines)}: cut in mid-line; drop it, or record the run again"
    )


@pytest.mark.scenario("history/another-schema")
def test_another_schema(tmp_path):
    """A file of another version is refused, naming both."""
    assert refused([b'{"ssq_history": 2}\n'], tmp_path) == "line 1: history schema 2; this ssq reads 1"
    path = tmp_path / "two.parquet"
    histories.write(History(header=Header(ssq_history=2)), path)
    with pytest.raises(InvalidHistory, match="history schema 2; this ssq reads 1"):
        histories.read(path)


def test_no_header(tmp_path):
    """An empty file has no header."""
    assert refused([], tmp_path).startswith("line 1: cut in mid-line")


@pytest.mark.scenario("history/not-a-history")
def test_not_a_history(tmp_path):
    """A line that is no event, and a file that is no Parquet, are refused by name."""
    lines = written(SAMPLE, tmp_path / "whole.jsonl")
    lines[3] = b'{"index": "three"}\n'
    parquet = tmp_path / "no.parquet"
    parquet.write_bytes(b"no")

    assert refused(lines, tmp_path).startswith("line 4: not a history event: Expected `int`")
    with pytest.raises(InvalidHistory, match="not a Parquet history"):
        histories.read(parquet)


@pytest.mark.scenario("history/an-operation-within-another")
def test_a_worker_does_one_thing_at_a_time():
    """A second invocation before the first completed is refused, naming event and line."""
    with pytest.raises(InvalidHistory) as error:
        h("w1 claim <", "w1 ack j1#1")

    assert str(error.value) == "event 1 (line 3): w1 has an open claim; complete it first [w1 ack invoke]"


def changed(place, **fields):
    """Return a good history with one event changed."""
    events = list(h("w1 enqueue j1", "w1 claim j1#1", "w1 dies").events)
    events[place] = msgspec.structs.replace(events[place], **fields)
    return History(events=tuple(events))


@pytest.mark.scenario("history/what-no-run-can-have-produced")
@pytest.mark.parametrize(
    ("index", "fields", "said"),
    [
        (1, {"index": 7}, "event 1 (line 3): index is 7, expected 1"),
        (3, {"time_ns": 1}, "event 3 (line 5): time_ns runs backward"),
        (3, {"f": "ack"}, "event 3 (line 5): w1 has no open ack to complete"),
        (2, {"type": EventType.OK}, "event 2 (line 4): w1 has no open claim to complete"),
        (4, {"f": "sneeze"}, "event 4 (line 6): f is 'sneeze', neither an operation, a fault nor"),
        (
            4,
            {"type": EventType.OK},
            "event 4 (line 6): crash is a single event; its type is 'info', not 'ok'",
        ),
    ],
)
def test_what_no_run_can_have_produced(index, fields, said):
    """Each is refused with a message that names event and line."""
    with pytest.raises(InvalidHistory) as error:
        changed(index, **fields).validated()

    assert str(error.value).startswith(said)


@pytest.mark.scenario("history/an-unknown-outcome")
def test_an_unknown_outcome():
    """An operation whose worker died, or whose reply was lost, may take effect at any later time."""
    died, lost, running = h("w1 ack j1#1 dies", "w1 claim ?", "w1 release j1#1 <").operations

    assert {each.ret_ns for each in (died, lost, running)} == {histories.NEVER_NS}
    assert {each.outcome for each in (died, lost, running)} == {EventType.INFO}


@pytest.mark.scenario("history/many-runs-in-one-file")
def test_many_runs_in_one_file():
    """Workers, jobs and clocks belong to their run: the same names in another run are others."""
    first = h("w1 claim <").events[0]
    second = msgspec.structs.replace(first, index=1, time_ns=0, run=1)

    assert len(History(events=(first, second)).operations) == 2

"""Are verdicts and violations laid out so that a person can read them?"""

import pytest
from msgspec.structs import replace

from ssq_verify.history import Event, EventType, History, Terms
from ssq_verify.invariants import violations
from ssq_verify.notation import h
from ssq_verify.report.columns import drawn, seconds
from ssq_verify.report.document import verdict_documents
from ssq_verify.report.layout import printable, rounded
from ssq_verify.report.racing import REVERSED, WAITS, Raced, Stop
from ssq_verify.report.story import ROWS_MAX, rows, story
from ssq_verify.report.table import summary, verdict_table
from ssq_verify.verdict import Finding, Verdict, Violation


def verdict(invariant, found, sentence="", **fields):
    """Return a verdict."""
    return Verdict(invariant=invariant, verdict=found, sentence=sentence, **fields)


def plain(lines):
    """Return lines without their styles."""
    return [line.plain for line in lines]


def told(history, invariant):
    """Return the story of the first violation of an invariant."""
    return plain(story(history, violations(history, invariant)[0]))


def test_table_has_stable_columns():
    """Invariant, verdict and sentence stand in columns that do not move with what they hold."""
    lines = plain(
        verdict_table(
            [
                verdict("fencing", Finding.HOLDS, "none was accepted"),
                verdict("order", Finding.NOT_OFFERED, "the queue promises no order"),
            ]
        )
    )

    assert lines == [
        "invariant          verdict           what was seen",
        "fencing            holds             none was accepted",
        "order              not offered       the queue promises no order",
    ]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_table_wraps_long_sentences(width):
    """A long sentence goes on in its own column, and no line is wider than asked."""
    lines = plain(verdict_table([verdict("fencing", Finding.VIOLATED, "word " * 60)], width=width))

    assert max(map(len, lines)) <= width
    assert len(lines) > 2
    assert all(line.startswith(" " * 37 + "word") for line in lines[2:])


def test_a_number_stays_with_its_unit():
    """No line ends between a number and the unit that it counts."""
    found = [verdict("x", Finding.VIOLATED, "a" * length + " at 65.0 s") for length in range(40, 60)]

    assert not any(line.endswith("65.0") for line in plain(verdict_table(found)))


def test_what_another_way_can_show_is_named():
    """A verdict that this way of testing can't reach names the way that can."""
    lines = plain(verdict_table([verdict("durable", Finding.VACUOUS, "no power loss", needs="simulation")]))

    assert lines[1] == "durable            needs simulation  no power loss"


def test_summary_counts_the_worst_first():
    """The line under the table counts verdicts, violations first."""
    found = [Finding.HOLDS, Finding.VIOLATED, Finding.HOLDS, Finding.UNKNOWN]

    assert summary([verdict("x", each) for each in found]).plain == "1 violated · 1 unknown · 2 holds"


def test_story_has_a_column_for_each_worker():
    """A story has a row for each step, in its worker's column, and a mark where the promise broke."""
    history = h("w1 enqueue j1", "w1 claim j1#1", "+61s", "w2 claim j1#2", "w1 ack j1#1")

    lines = told(history, "fencing")

    assert lines[0] == "fencing"
    assert lines[-5:] == [
        "        w1                   w2",
        " 0.0 s  enqueue j1 → ok",
        " 0.0 s  claim → j1 #1 as c1",
        "61.0 s                       claim → j1 #2 as c2",
        "61.0 s  ack c1 → ok                               ✗ here",
    ]


def test_story_of_many_workers_names_them():
    """Where columns would be too wide, each row names its worker instead."""
    history = h(
        *(f"worker-with-a-long-name-{number} enqueue j{number}" for number in range(1, 5)),
        "a claim j1#1",
        "b claim j1#2",
    )
    found = violations(history, "single-claimer")[0]
    everything = Violation(
        invariant=found.invariant, run=0, job_id="j1", sentence=found.sentence, witness=history.events
    )

    lines = plain(drawn(rows(history, everything)))

    assert lines[0] == "0.0 s  worker-with-a-long-name-1  enqueue j1 → ok"
    assert max(map(len, lines)) <= 100


def test_story_is_at_most_ten_rows_and_keeps_the_witness():
    """Of a long history, a story shows what breaks the promise, and of the rest only what fits."""
    others = [f"w3 enqueue k{number}" for number in range(50)]
    history = h("w1 enqueue j1", "w1 claim j1#1", *others, "+61s", "w2 claim j1#2", "w1 ack j1#1", *others)
    found = violations(history, "fencing")[0]

    chosen = rows(history, found)

    assert len(chosen) == ROWS_MAX
    assert chosen[-1].is_break
    assert [each.text for each in chosen if each.is_witness] == [
        "claim → j1 #1 as c1",
        "claim → j1 #2 as c2",
        "ack c1 → ok",
    ]


def test_story_shows_faults_and_payloads():
    """Deaths, clocks, and payloads that differ are shown as what they are."""
    history = h("w1 enqueue j1 =abc", "w1 dies", "w2 clock -2s", "w2 claim j1#1 =ab")

    lines = told(history, "integrity")

    assert " ".join(lines[-4].split()) == "0.0 s enqueue j1 'abc' → ok"
    assert " ".join(lines[-3].split()) == "0.0 s dies"
    assert " ".join(lines[-2].split()) == "0.0 s clock is 2 s behind"
    assert " ".join(lines[-1].split()) == "0.0 s claim → j1 #1 as c1, 'ab' ✗ here"


def test_story_tells_of_the_run_that_broke():
    """Of a history with many runs, only the violating one is told, from its own beginning."""
    history = h("w9 enqueue j9", "+500s", "w9 ack j9 ?", "next run", "w1 enqueue j1", "w1 claim j1#4")

    lines = told(history, "bounded-retries")

    assert not any("w9" in line for line in lines)
    assert any(line.startswith("0.0 s  enqueue j1") for line in lines)


def test_story_shows_how_long_an_operation_took():
    """An operation that overlapped others says when it returned."""
    history = h("w1 enqueue j1", "w1 claim <", "+5s", "w1 > j1#7")

    assert any("claim → j1 #7 as c1 (called at 0.0 s)" in line for line in told(history, "bounded-retries"))


@pytest.mark.parametrize(
    ("time_ns", "shown"), [(0, "0.0 s"), (59_999_999_999, "59.9 s"), (60_000_000_000, "60.0 s")]
)
def test_times_are_cut(time_ns, shown):
    """What happened just before a lease's end is not shown at its end."""
    assert seconds(time_ns) == shown


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        (
            "held until 60.000002 s and given to w2 at 0.000009 s",
            "held until 60.0 s and given to w2 at 0.0 s",
        ),
        ("held until 60.000002 s and given to w2 at 60.000001 s",) * 2,
        ("job at-1.25 s, enqueued at 1 s", "job at-1.25 s, enqueued at 1.0 s"),
    ],
)
def test_times_in_sentences_are_cut_unless_they_would_look_alike(sentence, shown):
    """A sentence has times to a tenth of a second, but keeps two that differ by less as they are."""
    assert rounded(sentence) == shown


def test_printable_writes_out_what_a_terminal_would_obey():
    """Control characters and lone surrogates are written as escapes, other text as it is."""
    assert printable("zé→\x00\x1b[2J\n\ud800") == r"zé→\x00\x1b[2J\n\ud800"


def test_document_carries_the_witness():
    """In JSON a violation has its witness as events, and a verdict without one has null."""
    history = h("w1 enqueue j1", "w1 claim j1#9", terms=Terms())
    found = violations(history, "bounded-retries")[0]

    broken, kept = verdict_documents(
        [
            verdict("bounded-retries", Finding.VIOLATED, found.sentence, violation=found, repro="r.json"),
            verdict("fencing", Finding.HOLDS, "none"),
        ]
    )

    assert broken["witness"][-1]["attempt"] == 9
    assert broken["repro"] == "r.json"
    assert kept["witness"] is None


def half_written(*stops, job="j1"):
    """Return the story of an enqueue during which another worker claims."""
    history = h(f"w1 enqueue {job} <", "w2 claim -", "w1 >", "w2 claim j7#9")
    found = violations(history, "bounded-retries")[0]
    raced = Raced(stops=tuple(Stop(*stop) for stop in stops))
    return plain(story(history, found, raced=raced))


def test_a_stopped_operation_has_two_rows():
    """Where it was stopped, and later what it answered; the row of the stop reaches beyond its column."""
    told = half_written((1, "w1", "os.rename queued/the-first-of-all.json -> claimed/the-first-of-all.tmp"))

    assert told[-5:] == [
        "       w1                w2",
        "0.0 s  enqueue j1… stops before rename queued/the-first-of-all.json → claimed/the-fi…",
        "0.0 s                    claim → nothing",
        "0.0 s  …enqueue j1 → ok",
        "0.0 s                    claim → j7 #9 as c1  ✗ here",
    ]


def test_a_stop_between_operations_is_told_by_their_order():
    """It has no row."""
    assert half_written((0, "w1", "call enqueue")) == half_written()


@pytest.mark.parametrize(
    ("stop", "told"),
    [
        ((1, "w1", "os.write queued/j1", WAITS), "enqueue j1… lets time pass before write queued/j1"),
        ((1, "w1", "os.listdir queued", REVERSED), "enqueue j1… listed in another order: listdir queued"),
    ],
)
def test_what_else_the_schedule_did_has_a_row(stop, told):
    """Time that passes, and a listing that comes in another order."""
    assert any(told in line for line in half_written(stop))


FAULTS = {
    "crash": ("os.rename a -> b", "claim… is killed before rename a → b"),
    "power-loss": ("os.fsync a", "claim… the power fails before fsync a"),
    "io-error": ("EIO|os.open a", "claim… open a fails: EIO"),
    "pause": ("65.0 s|os.open a", "claim… stands still for 65.0 s before open a"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_inside_an_operation_names_it(fault):
    """The operation and what befell it are one row; it has no answer that could be told."""
    value, told = FAULTS[fault]
    history = h("w1 enqueue j1", "w1 claim <", "w2 claim j9#1")
    struck = Event(index=4, time_ns=5_000, worker="w1", type=EventType.INFO, f=fault, value=value)
    later = [replace(event, index=event.index + 1, time_ns=9_000) for event in history.events[3:]]
    history = History(header=history.header, events=(*history.events[:3], replace(struck, index=3), *later))
    lines = plain(story(history, violations(history, "integrity")[0], raced=Raced()))

    assert sum(told in line for line in lines) == 1
    assert any("no answer" in line for line in lines) == (fault in {"io-error", "pause"})
    assert any("all that was written survives" in line for line in lines) == (fault == "power-loss")


def test_who_prepares_comes_first_and_who_drains_last():
    """Columns are in the order in which their workers act."""
    history = h("setup enqueue j1", "w2 claim j1#1", "w1 claim -", "drain claim j1#5")
    heading = told(history, "bounded-retries")[3]

    assert heading.split() == ["setup", "w1", "w2", "drain"]


def test_how_a_passing_run_differs_is_told_by_what_was_left_out():
    """The last line names the first answer that is another one without the last deviation."""
    failing, passing = h("w1 enqueue j1", "w1 claim j1#9"), h("w1 enqueue j1", "w1 claim j1#1", "w1 ack j1#1")
    raced = Raced(passing=passing, last="the kill")

    lines = plain(story(failing, violations(failing, "bounded-retries")[0], raced=raced))
    other = plain(story(failing, violations(failing, "bounded-retries")[0], raced=Raced(passing=failing)))

    assert lines[-1] == "without the kill: w1's ack c1 → ok"
    assert other[-1] == ""

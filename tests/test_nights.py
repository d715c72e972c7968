"""Does a night go on whatever breaks, and from where it was left, in bounded room?"""

import pytest

from ssq_stress.back_to_simulation import Sought
from ssq_stress.nights import watches
from ssq_stress.nights.ledger import NAME, NotThisNight
from ssq_stress.nights.night import FOLDER
from ssq_stress.nights.standing import WATCHES
from ssq_stress.nights.watches import CONDITIONS
from ssq_stress.plan import Plan
from ssq_verify.subject import SubjectFailed
from ssq_verify.verdict import Finding
from watching import HISTORY_BYTES, LOST, WATCH_SECONDS, Watching, record, shown, stood, there, violation

QUIET = [shown(record()) for _ in range(4)]
HOUR = Plan(seconds=3_600.0, profile="nightly")


@pytest.mark.scenario("stress/watches-in-turn")
def test_each_watch_has_another_seed_and_other_conditions():
    """Conditions come in turn, seeds never again; each watch strikes its share, in its share of the time."""
    plans = [watches.watch(HOUR, number) for number in range(1, 13)]

    assert len({plan.seed for plan in plans}) == 12
    assert {plan.seconds for plan in plans} == {300.0}
    assert plans[0].settings == plans[8].settings == CONDITIONS[0].settings
    assert len({(plan.consumers, plan.rate, plan.payload_bytes_max, plan.settings) for plan in plans}) == 8
    assert plans[0].needed == 4
    assert watches.seed(0, 2) != watches.seed(1, 2) != watches.seed(1, 1)


def test_what_was_asked_for_stays_so():
    """A rate that was asked for is kept; a short night is one watch that strikes all; a crew has limits."""
    short = watches.watch(Plan(seconds=60.0, profile="nightly", rate=5.0, consumers=64, producers=1), 4)

    assert (short.rate, short.consumers, short.producers) == (5.0, 64, 2)
    assert (short.seconds, short.needed) == (60.0, 30)


@pytest.mark.scenario("stress/a-violation-ends-nothing")
def test_a_night_lasts_as_long_as_it_is_to(tmp_path, monkeypatch):
    """Watches follow each other until the time is up, though a queue breaks in the first."""
    broken = shown(record(violation("ack", "drained:info")))
    watching = Watching(monkeypatch, broken, *QUIET)

    ended = stood(tmp_path / "o", Plan(seconds=3 * WATCH_SECONDS, profile="nightly"))

    assert (ended.watches, len(watching.plans)) == (3, 3)
    assert ended.interrupted is None
    assert [failure.invariant for failure in ended.failures] == [LOST]
    assert ended.record.matrix == {"kill while ack": 3}


@pytest.mark.scenario("stress/a-night-goes-on")
def test_a_night_goes_on_where_it_was_left(tmp_path, monkeypatch):
    """After the harness has died, the half-done watch is done again, with its seed, and all are summed."""
    out, resumed = tmp_path / "o", []
    Watching(monkeypatch, *QUIET[:2])
    stood(out)
    with (out / NAME).open("ab") as ledger:
        ledger.write(b'{"number":3,"see')
    (out / FOLDER / "0003/rounds").mkdir(parents=True)
    watching = Watching(monkeypatch, QUIET[0])

    ended = stood(out, resumed=lambda standing, was_cut: resumed.append((standing.watches, was_cut)))

    assert resumed == [(2, True)]
    assert (ended.watches, ended.record.matrix) == (3, {"kill while ack": 3})
    assert watching.plans[0].seed == watches.seed(0, 3)
    assert there(out) == [3]


@pytest.mark.scenario("stress/a-night-goes-on")
def test_a_night_that_is_over_is_over(tmp_path, monkeypatch):
    """Asked again for the same time it has nothing to do; for more it does the rest."""
    out = tmp_path / "o"
    Watching(monkeypatch, *QUIET)
    stood(out, Plan(seconds=2 * WATCH_SECONDS, profile="nightly"))
    watching = Watching(monkeypatch, *QUIET)

    same = stood(out, Plan(seconds=2 * WATCH_SECONDS, profile="nightly"))
    more = stood(out, Plan(seconds=3 * WATCH_SECONDS, profile="nightly"))

    assert (same.watches, more.watches, len(watching.plans)) == (2, 3, 1)


@pytest.mark.scenario("stress/another-night")
def test_another_night_is_refused(tmp_path, monkeypatch):
    """A folder of another seed, or one in which another night is at work, or no night, is named."""
    out = tmp_path / "o"
    Watching(monkeypatch, *QUIET)
    stood(out, Plan(seconds=100.0, profile="nightly"))

    with pytest.raises(NotThisNight, match=r"begun with seed 0, not 1; name another folder with --out"):
        stood(out, Plan(seconds=100.0, profile="nightly", seed=1))
    (out / NAME).write_text("{}\n")
    with pytest.raises(NotThisNight, match="no night that this version knows"):
        stood(out, Plan(seconds=100.0, profile="nightly"))


def test_two_nights_do_not_share_a_folder(tmp_path, monkeypatch):
    """While one is at work the other is refused."""
    refused = []

    def meanwhile(_standing):
        with pytest.raises(NotThisNight, match="another night is at work") as found:
            stood(tmp_path / "o")
        refused.append(found.value)

    Watching(monkeypatch, QUIET[0])
    stood(tmp_path / "o", ended=meanwhile)

    assert len(refused) == 1


@pytest.mark.scenario("stress/a-night-takes-bounded-room")
def test_only_what_broke_is_kept(tmp_path, monkeypatch):
    """Of watches that broke alike the three shortest are kept, of the others the last; nothing else grows."""
    long, short = violation("enqueue", "ack", "ack"), violation("enqueue", "ack")
    found = [long, short, None, long, short, long, short, None, long, None]
    Watching(monkeypatch, *(shown(record(*([each] if each else []))) for each in found))

    ended = stood(tmp_path / "o", Plan(seconds=10 * WATCH_SECONDS, profile="nightly"))

    assert there(tmp_path / "o") == [1, 2, 4, 5, 6, 7, 10]
    assert [(failure.count, len(failure.sightings)) for failure in ended.failures] == [(3, 3), (4, 3)]
    assert len(ended.record.evidence) == 1


@pytest.mark.scenario("stress/a-night-takes-bounded-room")
def test_histories_have_so_much_room(tmp_path, monkeypatch):
    """When there is no more room, one history of each failure is kept before a second one of any."""
    one, other = violation("ack"), violation("ack", "ack")
    Watching(monkeypatch, *(shown(record(each)) for each in (one, one, other, other)), QUIET[0])

    stood(
        tmp_path / "o",
        Plan(seconds=5 * WATCH_SECONDS, profile="nightly"),
        kept_bytes_max=3 * HISTORY_BYTES,
    )

    assert there(tmp_path / "o") == [1, 2, 3, 5]


@pytest.mark.scenario("stress/a-night-is-ended")
def test_who_ends_a_night_is_told_how_it_stands(tmp_path, monkeypatch):
    """What was over stands; a watch that was cut counts with its whole rounds, or is left out."""
    Watching(monkeypatch, QUIET[0], shown(record(), interrupted="round 2 (drain)"), *QUIET)
    cut = stood(tmp_path / "cut")
    Watching(monkeypatch, QUIET[0], KeyboardInterrupt())
    left_out = stood(tmp_path / "left-out")
    Watching(monkeypatch, KeyboardInterrupt())

    assert (cut.watches, cut.interrupted) == (2, "round 2 (drain) of watch 2")
    assert (left_out.watches, left_out.interrupted) == (1, "watch 2, which is left out")
    assert there(tmp_path / "left-out") == [1]
    with pytest.raises(KeyboardInterrupt):
        stood(tmp_path / "nothing")


@pytest.mark.scenario("stress/a-watch-that-fails")
def test_a_watch_that_fails_is_told(tmp_path, monkeypatch):
    """The night goes on, and is not green; the first watch, or a third in a row, ends it."""
    failing = SubjectFailed("file: no\nserver")
    Watching(monkeypatch, QUIET[0], failing, failing, QUIET[1], failing)
    ended = stood(tmp_path / "some", Plan(seconds=5 * WATCH_SECONDS, profile="nightly"))
    (said,) = [each for each in ended.verdicts(needed=1) if each.invariant == WATCHES]

    assert said.verdict is Finding.UNKNOWN
    assert said.sentence == "watches that failed: 3 of 5; watch 2: SubjectFailed: file: no server"
    Watching(monkeypatch, failing)
    with pytest.raises(SubjectFailed):
        stood(tmp_path / "first")
    Watching(monkeypatch, QUIET[0], *[failing] * 3)
    with pytest.raises(SubjectFailed):
        stood(tmp_path / "row")


def test_what_is_found_is_not_searched_for_again(tmp_path, monkeypatch):
    """A promise with a repro, or one searched for twice in vain, is known."""
    found = Sought(repros={LOST: "r.json"}, missing=("fencing",))
    script = [shown(record(), sought=found), shown(record(), sought=Sought(missing=("fencing",))), QUIET[0]]
    watching = Watching(monkeypatch, *script)

    stood(tmp_path / "o", Plan(seconds=3 * WATCH_SECONDS, profile="nightly"))

    assert watching.known == [set(), {LOST}, {LOST, "fencing"}]

"""A repro shows its failure again, until the queue is fixed."""

import json
from itertools import combinations

import msgspec
import pytest

from ssq_verify.execution import execute, scratch
from ssq_verify.repro import InvalidRepro, Repro, digest, load, replay, repro, save, violations
from ssq_verify.scenario import Scenario, Settings, Step, StepKind
from ssq_verify.subject import load as load_subject

TWICE_AT_ONCE = Scenario(
    settings=Settings(lease_ttl_seconds=60),
    steps=(
        Step(do=StepKind.ENQUEUE, job="j1"),
        Step(do=StepKind.CLAIM, claim="claim1"),
        Step(do=StepKind.ENQUEUE, job="j1"),
        Step(do=StepKind.CLAIM, worker="w2", claim="claim2"),
    ),
)
BROKEN = """
from ssq_verify.subjects.naive_file import open_queue
"""
FIXED = """
from ssq_verify.subjects.memory import open_queue
"""


def found(reference, invariant="single-claimer"):
    """Return the repro of the scenario above on a subject that it breaks."""
    subject = load_subject(reference)
    with scratch() as workdir:
        history = execute(TWICE_AT_ONCE, subject, workdir)
    return repro(subject, TWICE_AT_ONCE, violations(history, invariant)[0], history)


@pytest.mark.scenario("verdicts/replayed-twenty-times")
def test_a_repro_fails_twenty_times_out_of_twenty():
    """Each replay breaks the same invariant by the same history, byte for byte."""
    kept = found("naive-file")
    replays = [replay(kept) for _ in range(20)]

    assert [(each.still_fails, each.is_same_history) for each in replays] == [(True, True)] * 20
    assert {digest(each.history) for each in replays} == {kept.digest}
    assert replays[0].violation.sentence == kept.sentence


@pytest.mark.scenario("verdicts/a-fixed-queue")
def test_a_repro_of_a_queue_that_was_fixed_does_not_fail(tmp_path, monkeypatch):
    """A file subject is found from the same folder, run as it is now, and no longer fails."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.py").write_text(BROKEN)
    kept = found("theirs.py:open_queue")
    (tmp_path / "theirs.py").write_text(FIXED)

    outcome = replay(kept)

    assert (outcome.still_fails, outcome.violation, outcome.is_same_history) == (False, None, False)


@pytest.mark.scenario("verdicts/saved-and-read-back")
def test_a_repro_is_read_back_as_it_was_saved(tmp_path):
    """The file is indented JSON with its version, and holds everything that the replay needs."""
    kept = found("naive-file")
    save(kept, tmp_path / "new" / "folder" / "single-claimer.json")
    path = tmp_path / "new" / "folder" / "single-claimer.json"
    document = json.loads(path.read_text())

    assert load(path) == kept
    assert document["ssq_repro"] == 2
    assert set(document) == set(Repro.__struct_fields__)
    assert path.read_text().startswith('{\n  "ssq_repro": 2,\n')


def edited(**fields):
    """Return a repro's file after somebody edited it."""
    document = json.loads(msgspec.json.encode(found("naive-file")))
    return json.dumps(document | fields).encode()


@pytest.mark.scenario("verdicts/a-repro-of-another-version")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"ssq_repro": 1, "tape": []}', "repro version 1, this ssq replays 2; use the ssq that wrote it"),
        (b'{"ssq_repro": 2, "subject": "file"}', "damaged repro"),
        (b"{}", "not a repro"),
        (b"\xff\xfe", "not a repro"),
        (b"", "not a repro"),
        (edited(tape=[0, -1]), "damaged repro"),
        (edited(invariant="politeness"), r"no such invariant \(politeness\)"),
        (edited(scenario={"steps": [{"do": "enqueue"}]}), r"step 0 \(enqueue\) names no job"),
    ],
)
def test_what_is_no_repro_of_this_version_is_refused(tmp_path, content, said):
    """One line says which file, what is wrong with it, and what to do."""
    path = tmp_path / "repro.json"
    path.write_bytes(content)

    with pytest.raises(InvalidRepro, match=said) as refused:
        load(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_exact_check_has_repros_too():
    """A repro of `linearizable` is judged by the exact check."""
    assert replay(found("naive-file", "linearizable")).still_fails


def test_a_hand_edited_scenario_can_be_replayed():
    """A repro is data: a person may drop a step and see whether it still fails."""
    kept = found("naive-file")
    outcomes = {
        steps: replay(
            msgspec.structs.replace(kept, scenario=Scenario(settings=Settings(), steps=steps))
        ).still_fails
        for steps in combinations(TWICE_AT_ONCE.steps, 3)
    }

    # The drain claims what the fourth step would have claimed; without the second enqueue nothing is wrong.
    assert outcomes[TWICE_AT_ONCE.steps[:3]]
    assert not outcomes[TWICE_AT_ONCE.steps[:2] + TWICE_AT_ONCE.steps[3:]]

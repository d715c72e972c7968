"""Does `ssq` say what it should, where it should, and end with the right exit code?"""

import json
import re
import shlex

import pytest

from ssq_stress.command import commands
from ssq_stress.faults import POWER_LOSS, Fault
from ssq_verify import history as history_module
from ssq_verify.judge import IDS
from ssq_verify.notation import h
from ssq_verify.subject import names

BROKEN = h("w1 enqueue j1", "w1 claim j1#1", "+61s", "w2 claim j1#2", "w1 ack j1#1", "w2 ack j1#2 !lost")


@pytest.fixture
def broken(tmp_path):
    """Give a history in which a superseded claim is acked."""
    path = tmp_path / "broken.jsonl"
    history_module.write(BROKEN, path)
    return path


@pytest.mark.scenario("command-line/a-broken-history-is-checked")
@pytest.mark.scenario("command-line/something-is-violated")
def test_check_tells_how_a_history_breaks(ssq, broken):
    """A history with a stale ack breaks fencing: exit code 1, a story, and the command that asks again."""
    code, out, error = ssq("check", broken, "--invariants", "fencing")

    assert (code, error) == (1, "")
    assert out.splitlines()[0] == f"ssq check {broken} · 5 operations"
    assert re.search(r"^fencing +violated +w1's ack", out, flags=re.MULTILINE)
    assert re.search(r"^61\.0 s +ack c1 → ok +✗ here$", out, flags=re.MULTILINE)
    assert out.splitlines()[-1] == f"ssq check {broken} --invariants fencing"


@pytest.mark.scenario("command-line/a-hostile-path")
def test_the_last_line_can_be_copied_whatever_the_path(ssq, broken):
    """A path with blanks, quotes and other scripts is quoted, so that the last line does what it says."""
    path = broken.rename(broken.with_name("it's ünd 日本.jsonl"))

    _, out, _ = ssq("check", path.name, "--invariants", "fencing")
    program, *arguments = shlex.split(out.splitlines()[-1])

    assert program == "ssq"
    assert arguments == ["check", path.name, "--invariants", "fencing"]


@pytest.mark.scenario("command-line/one-json-document")
def test_check_as_json(ssq, broken):
    """With `--json`, `ssq check` prints one document with a verdict on each invariant, and nothing else."""
    code, out, error = ssq("check", broken, "--json")
    document = json.loads(out)
    fencing = next(each for each in document["verdicts"] if each["invariant"] == "fencing")

    assert (code, error) == (1, "")
    assert [each["invariant"] for each in document["verdicts"]] == list(IDS)
    assert set(fencing) == {"invariant", "verdict", "sentence", "needs", "witness", "repro"}
    assert fencing["verdict"] == "violated"
    assert fencing["witness"][-1]["f"] == "ack"


@pytest.mark.scenario("command-line/nothing-could-have-been-shown")
def test_an_idle_history_shows_nothing(ssq, tmp_path):
    """A history in which nothing happened is vacuous: exit code 3."""
    history_module.write(h(), tmp_path / "idle.jsonl")

    code, out, _ = ssq("check", "idle.jsonl")

    assert code == 3
    assert "vacuous" in out


@pytest.mark.scenario("command-line/a-hostile-name")
def test_hostile_names_are_judged_and_written_out(ssq, tmp_path):
    """A job named with a slash, NUL and an escape sequence is judged, and reaches no terminal as it is."""
    name = "../j\x00\x1b[31m"
    lines = [
        {"ssq_history": 1},
        {"index": 0, "time_ns": 1, "worker": "w1", "type": "invoke", "f": "claim"},
        {
            "index": 1,
            "time_ns": 2,
            "worker": "w1",
            "type": "ok",
            "f": "claim",
            "job_id": name,
            "claim_id": "c",
        },
    ]
    (tmp_path / "hostile.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    code, out, error = ssq("check", "hostile.jsonl", "--invariants", "integrity")

    assert (code, error) == (1, "")
    assert r"../j\x00\x1b[31m" in out
    assert not set(out) & {"\x00", "\x1b"}


@pytest.mark.scenario("command-line/a-history-cut-in-mid-line")
def test_cut_history(ssq, broken, is_one_line):
    """A history cut in mid-line is bad input: the line is named."""
    broken.write_bytes(broken.read_bytes()[:-5])

    code, out, error = ssq("check", broken)

    assert (code, out) == (64, "")
    assert is_one_line(error, broken, "line 11", "cut in mid-line")


@pytest.mark.scenario("command-line/a-file-that-is-not-there")
@pytest.mark.parametrize("command", ["check", "replay"])
@pytest.mark.parametrize(("path", "reason"), [("nowhere", "no such file"), (".", "Is a directory")])
def test_file_that_is_not_there(ssq, command, path, reason, is_one_line):
    """A file that does not exist or is a folder is bad input."""
    code, out, error = ssq(command, path)

    assert (code, out) == (64, "")
    assert is_one_line(error, f"{path}: ", reason)


@pytest.mark.scenario("command-line/a-repro-of-another-version")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"ssq_repro": 99}', "version 99, this ssq replays 2"),
        (b'{"ssq_repro": 2}', "damaged repro"),
        (b"\xff not a repro", "not a repro"),
    ],
)
def test_repro_of_another_version(ssq, tmp_path, content, said, is_one_line):
    """A repro of another version, a damaged one and no repro at all are bad input."""
    (tmp_path / "repro.json").write_bytes(content)

    code, out, error = ssq("replay", "repro.json")

    assert (code, out) == (64, "")
    assert is_one_line(error, "repro.json", said)


@pytest.mark.scenario("command-line/wrong-usage")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "nonsense"),
        (["verify"], "subject"),
        (["verify", "memory", "--profile", "forever"], "forever"),
        (["verify", "memory", "--seed", "-1"], "--seed"),
        (["verify", "memory", "--invariants", "fencin"], "did you mean fencing?"),
        (["verify", "memory", "--invariants", ","], "--invariants is empty"),
        (["explain", "xyz"], "`ssq explain` lists them"),
        (["check", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage(ssq, arguments, said, is_one_line):
    """What does not exist is named in one line."""
    code, out, error = ssq(*arguments)

    assert (code, out) == (64, "")
    assert is_one_line(error, said)


@pytest.mark.scenario("command-line/an-unknown-subject")
@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("nonesuch", "no such subject"),
        ("nowhere.py:open_queue", "no such file"),
        ("no.such.module:open_queue", "can not import"),
        ("broken.py:open_queue", "importing it raised SyntaxError"),
        ("raising.py:open_queue", "importing it raised KeyError"),
        ("empty.py:open_queue", "no function 'open_queue'"),
    ],
)
def test_unknown_subject(ssq, tmp_path, reference, said, is_one_line):
    """A subject that leads nowhere is named, with what to write instead."""
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "raising.py").write_text("{}['key']")
    (tmp_path / "empty.py").write_text("")

    code, out, error = ssq("verify", reference)

    assert (code, out) == (64, "")
    assert is_one_line(error, reference.partition(":")[0], said)


@pytest.mark.scenario("command-line/no-room-or-no-permission-for-results")
def test_results_that_can_not_be_written(ssq, tmp_path, is_one_line):
    """An output folder under a file can't be made."""
    (tmp_path / "file").write_text("")

    code, out, error = ssq("verify", "memory", "--out", "file/results")

    assert (code, out) == (64, "")
    assert is_one_line(error, "file/results", "Not a directory", "--out")


@pytest.mark.scenario("command-line/no-room-or-no-permission-for-results")
@pytest.mark.parametrize("command", ["verify", "stress"])
def test_a_folder_that_takes_no_file_is_refused_at_once(ssq, command, is_one_line):
    """A folder that is there and takes no file is known before anything runs, not when all is over."""
    code, out, error = ssq(command, "file", "--out", "/proc")

    assert (code, out) == (64, "")
    assert is_one_line(error, "/proc: can not write there", "--out")


@pytest.mark.scenario("command-line/subjects-are-listed")
def test_subjects(ssq):
    """Each subject of the package is named with the first line of what it is."""
    code, out, _ = ssq("subjects")
    _, listed, _ = ssq("subjects", "--json")

    assert code == 0
    for name in names():
        assert re.search(rf"^{name} +\S.{{20,}}$", out, flags=re.MULTILINE), name
    assert [each["name"] for each in json.loads(listed)] == list(names())


@pytest.mark.scenario("command-line/an-invariant-is-explained")
@pytest.mark.parametrize("name", IDS)
def test_explain(ssq, name):
    """Each invariant is explained: what it requires, a broken and a kept history, the usual bug."""
    code, out, error = ssq("explain", name)
    _, as_json, _ = ssq("explain", name, "--json")
    document = json.loads(as_json)

    assert (code, error) == (0, "")
    assert out.splitlines()[0] == name
    assert "A smallest history that breaks it" in out
    assert "The usual bug" in out
    assert "✗ here" in out or name == "not-vacuous"
    assert all(document[key] for key in ("requirement", "sound_because", "usual_bug", "broken", "accepted"))


@pytest.mark.scenario("command-line/a-fault-is-explained")
@pytest.mark.parametrize("name", [*Fault, POWER_LOSS])
def test_explain_a_fault(ssq, name):
    """Each fault of stress is explained under its name."""
    code, out, error = ssq("explain", name)
    _, as_json, _ = ssq("explain", name, "--json")

    assert (code, error) == (0, "")
    assert out.splitlines()[0] == name
    assert " ".join(out.split()[1:]) == json.loads(as_json)["meaning"]


def test_explain_lists_all(ssq):
    """Without an argument, `ssq explain` lists every invariant that is judged, and names the faults."""
    code, out, _ = ssq("explain")
    invariants, faults = out.split("\n\n")
    listed = {line.split()[0] for line in invariants.splitlines() if not line.startswith(" ")}

    assert (code, listed) == (0, set(IDS))
    assert all(fault in faults for fault in [*Fault, POWER_LOSS])


@pytest.mark.scenario("command-line/the-harness-itself-fails")
def test_harness_failure(ssq, tmp_path, monkeypatch, is_one_line):
    """An error of our own is one line with the place of its traceback; on request the traceback is shown."""

    def fail(**_):
        raise RuntimeError("the wheels\ncame off")

    monkeypatch.setattr(commands, "subjects", fail)
    code, out, error = ssq("subjects")
    kept = list((tmp_path / ".ssq/tracebacks").iterdir())
    monkeypatch.setenv("SSQ_TRACEBACK", "1")
    code_shown, _, error_shown = ssq("subjects")

    assert (code, out) == (70, "")
    assert is_one_line(error, r"RuntimeError: the wheels\ncame off", kept[0].name)
    assert kept[0].read_text().startswith("Traceback")
    assert code_shown == 70
    assert "Traceback" in error_shown


@pytest.mark.scenario("command-line/interrupted")
def test_interrupt(ssq, monkeypatch, is_one_line):
    """Ctrl-C ends with 130 and one line."""

    def interrupt(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "subjects", interrupt)

    code, out, error = ssq("subjects")

    assert (code, out) == (130, "")
    assert is_one_line(error, "interrupted")


def test_version(ssq):
    """`ssq --version` names the version."""
    code, out, _ = ssq("--version")

    assert code == 0
    assert re.fullmatch(r"ssq \d+\.\d+\.\d+\n", out)

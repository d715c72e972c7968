"""Does `ssq stress` say in one line what is wrong with its input, and show what came of a run?"""

import json

import multiprocess
import pytest

from ssq_stress.processes import looking

RUNS_MAX = 4
"""Chance may spare a job once."""
RAISING = """
def open_queue(workdir, policy):
    raise RuntimeError("no server at db:5432")
"""


@pytest.mark.scenario("stress/bad-input")
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nothing"], ["nothing", "no such subject"]),
        (["file", "--faults", "kill,flood"], ["flood", "kill, pause, skew"]),
        (["file", "--faults", ","], ["--faults is empty"]),
        (["redis", "--faults", "kill,io-error"], ["io-error misses redis", "on a server", "leave it out"]),
        (["file", "--for", "soon"], ["--for soon", "90s"]),
        (["file", "--for", "0s"], ["--for 0s", "no time", "90s"]),
        (["memory"], ["memory", "ssq verify"]),
        (["persist-queue"], ["one process", "ssq verify"]),
        (["file", "--workers", "0"], ["workers"]),
        (["file", "--rate", "0"], ["rate"]),
        (["redis", "--skew", "5"], ["--skew", "redis stands any difference", "leave it out"]),
        (["file", "--out", "/dev/null/x"], ["/dev/null/x", "--out"]),
    ],
)
def test_bad_input_is_one_line(ssq, is_one_line, arguments, parts):
    """What can't be used is named in one line, with what to write instead, and nothing runs."""
    code, out, error = ssq("stress", *arguments)

    assert (code, out) == (64, "")
    assert is_one_line(error, *parts)


@pytest.mark.scenario("stress/a-factory-that-raises")
def test_a_factory_that_raises_is_one_line(ssq, is_one_line, tmp_path):
    """What the factory raised is told in one line."""
    (tmp_path / "mine.py").write_text(RAISING)

    code, _, error = ssq("stress", "mine.py:open_queue", "--for", "1s", "--faults", "kill")

    assert code == 64
    assert is_one_line(error, "mine.py:open_queue", "no server at db:5432")


@pytest.mark.scenario("stress/a-factory-that-gives-no-queue")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(0)", "raised SystemExit: 0"),
        ("os._exit(7)", "ended its process with code 7"),
        ("return 'a string'", "gave a str without enqueue, claim, ack"),
        ("time.sleep(600)", "did not come back within 1 s"),
    ],
)
def test_a_factory_that_gives_no_queue_is_one_line(ssq, is_one_line, tmp_path, body, said):
    """One that ends its process, gives anything else, or hangs, is named with what it did."""
    (tmp_path / "mine.py").write_text(f"import os, sys, time\n\ndef open_queue(workdir, policy): {body}\n")

    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr(looking, "SECONDS_MAX", 1.0)
        code, _, error = ssq("stress", "mine.py:open_queue", "--for", "1s", "--faults", "none")

    assert code == 64
    assert is_one_line(error, "mine.py:open_queue: opening it for a first look", said)
    assert multiprocess.active_children() == []


@pytest.mark.scenario("stress/what-is-shown")
def test_a_run_is_shown(ssq, tmp_path):
    """Title, verdicts, matrix, counts, and the command that judges again stand in their order."""
    code, out, error = ssq(
        "stress",
        "file",
        "--for",
        "1s",
        "--workers",
        "2",
        "--producers",
        "1",
        "--faults",
        "pause",
        "--out",
        "o",
    )
    lines = out.splitlines()
    rows = {line.split()[0] for line in lines if line and not line.startswith(" ")}

    assert (code, error) == (3, "")
    assert lines[0] == "ssq stress file · 2 workers, 1 producers · faults pause · profile ci · seed 0"
    assert {"single-claimer", "side-effects", "coverage", "pause"} <= rows
    assert lines[-1] == "ssq check o/history.jsonl"
    assert (tmp_path / "o/history.jsonl").is_file()


@pytest.mark.scenario("stress/asked-on-the-command-line")
def test_clocks_may_be_asked_for_beyond_the_promise(ssq, tmp_path):
    """Clocks that differ by hours give a job two holders; how far they may differ is measured elsewhere."""
    options = ("--for", "6s", "--workers", "4", "--producers", "1", "--faults", "skew", "--skew", "7200")
    for seed in range(RUNS_MAX):
        code, out, error = ssq("stress", "file", *options, "--seed", str(seed), "--out", tmp_path / str(seed))
        if code == 1:
            break
    told = " ".join(out.split())

    assert (code, error) == (1, "")
    assert out.splitlines()[0].startswith(
        "ssq stress file · 4 workers, 1 producers · clocks up to 7200 s apart"
    )
    assert "single-claimer violated" in told
    assert "ssq verify file --sweep skew" in told


@pytest.mark.scenario("stress/the-data-is-on-a-server")
def test_a_workers_disk_is_left_out_where_the_data_is_on_a_server(ssq):
    """All faults of a queue on a server are those that can strike it, and one line names the others."""
    code, out, error = ssq("stress", "redis", "--for", "1s", "--workers", "2", "--producers", "1")
    lines = out.splitlines()

    assert (code, error) == (3, "")
    assert lines[1] == "left out, as the data is on a server: disk-full, io-error"
    assert not [line for line in lines[2:] if "io-error" in line or "disk-full" in line]


def test_json_is_one_document(ssq):
    """With `--json` the verdicts, the matrix and the counts are one document."""
    code, out, _ = ssq(
        "stress", "file", "--for", "1s", "--workers", "1", "--producers", "1", "--faults", "kill", "--json"
    )
    document = json.loads(out)

    assert code == 3
    assert document["faults"] == ["kill"]
    assert document["subject"] == "file"
    assert {each["invariant"] for each in document["verdicts"]} >= {"single-claimer", "coverage"}

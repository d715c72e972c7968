"""Can the workflows that users copy run? They are read as GitHub reads them, their commands as `ssq` does."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from ssq_stress.cli import UsageError, app
from ssq_stress.command.door import duration, named_subject
from ssq_stress.nights.summary import NAME
from ssq_verify.profiles import PROFILES

ROOT = Path(__file__).parents[1]
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}
GIVEN = {
    "GITHUB_RUN_NUMBER": "17",
    "GITHUB_STEP_SUMMARY": "summary",
    "LD_LIBRARY_PATH": "/usr/lib",
    "PATH": "/usr/bin",
}
"""What GitHub and its `setup-python` put into the environment."""
LIMIT_MINUTES, MARGIN_SECONDS = 360, 1_500
JOBS = [
    pytest.param(workflow, job, id=f"{name}-{label}")
    for name, workflow in WORKFLOWS.items()
    for label, job in workflow["jobs"].items()
]


def commands(workflow, job):
    """Return the arguments of each `ssq` command of a job, its variables filled in."""
    found = []
    for step in job["steps"]:
        words = [expanded(word, workflow["env"] | GIVEN) for word in shlex.split(step.get("run", ""))]
        if "ssq" in words:
            found.append(words[words.index("ssq") + 1 :])
    return found


def expanded(word, values):
    """Fill in a shell's variables. Raises `KeyError` for one that is not set."""
    return re.sub(r"\$(\w+)", lambda name: str(values[name[1]]), word)


def accepted(arguments):
    """Return a command line's parameters as the command would get them, without running it."""
    name, *others = arguments
    return typer.main.get_command(app).commands[name].make_context(name, others).params


def steps(job, action):
    """Return the steps of a job that use an action."""
    return [step for step in job["steps"] if step.get("uses", "").startswith(f"{action}@")]


def triggers(name):
    """Return when a workflow runs: YAML reads the word `on` as true."""
    return WORKFLOWS[name][True]


@pytest.mark.scenario("command-line/workflows-that-run")
def test_they_run_when_they_say():
    """One runs on each change, the other at night."""
    assert {"push", "pull_request"} <= set(triggers("checks"))
    assert re.fullmatch(r"\d+ \d+ \* \* \*", triggers("nightly")["schedule"][0]["cron"])


@pytest.mark.scenario("command-line/workflows-that-run")
@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_their_commands_are_accepted(workflow, job):
    """Each job has one command of `ssq`, which its own parser takes, for a subject that there is."""
    (arguments,) = commands(workflow, job)

    taken = accepted(arguments)

    assert named_subject(taken["subject"]).reference == workflow["env"]["SUBJECT"]
    assert taken["seconds"] is None or duration(taken["seconds"]) < job["timeout-minutes"] * 60


@pytest.mark.scenario("command-line/a-night-ends-by-itself")
@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_they_end_before_they_are_ended(workflow, job):
    """A job that GitHub ends keeps nothing: what was begun has twenty-five minutes to end by itself."""
    (arguments,) = commands(workflow, job)
    taken = accepted(arguments)
    profile = PROFILES[taken["profile"].value]
    limits = [taken["seconds"] and duration(taken["seconds"]), profile.simulation.seconds_max]

    assert job["timeout-minutes"] < LIMIT_MINUTES
    assert min(filter(None, limits)) + MARGIN_SECONDS <= job["timeout-minutes"] * 60


def test_the_summary_of_the_night_is_shown():
    """What the night of stress leaves is put on the page of the run, whatever came of it."""
    job = WORKFLOWS["nightly"]["jobs"]["stress"]
    (shown,) = [step for step in job["steps"] if "GITHUB_STEP_SUMMARY" in step.get("run", "")]
    (arguments,) = commands(WORKFLOWS["nightly"], job)

    assert f"cat {accepted(arguments)['out']}/{NAME} >>" in shown["run"]
    assert shown["if"] == "always()"


def test_they_ask_for_what_is_promised():
    """Changes are verified as in `ci`; a night verifies for five hours and stresses for four."""
    asked = [arguments for each in JOBS for arguments in commands(*each.values)]

    told = [(name, values["profile"].value, values["seconds"]) for name, values in map(named, asked)]
    assert told == [
        ("verify", "ci", None),
        ("verify", "nightly", "5h"),
        ("stress", "nightly", "4h"),
    ]


def named(arguments):
    """Return a command's name and its parameters."""
    return arguments[0], accepted(arguments)


@pytest.mark.parametrize(
    "wrong", [["verify"], ["verify", "file", "--for-ever"], ["stress", "file", "--profile", "x"]]
)
def test_a_wrong_command_would_be_seen(wrong):
    """What the parser refuses is refused here, too."""
    with pytest.raises(UsageError):
        accepted(wrong)


@pytest.mark.scenario("command-line/what-failed-is-kept")
@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_results_outlive_a_failure(workflow, job):
    """All that a command writes is uploaded, and what failed is kept, also after a failure."""
    (arguments,) = commands(workflow, job)
    taken = accepted(arguments)
    (upload,), (save,) = steps(job, "actions/upload-artifact"), steps(job, "actions/cache/save")

    assert {upload["if"], save["if"]} == {"always()"}
    uploaded = Path(upload["with"]["path"])
    assert uploaded in taken["out"].parents
    assert uploaded in taken["junit"].parents


def test_caches_meet():
    """All jobs keep the same folders, and fetch what any kept: a cache with other paths is another."""
    restored = [step["with"] for each in JOBS for step in steps(each.values[1], "actions/cache/restore")]
    saved = [step["with"] for each in JOBS for step in steps(each.values[1], "actions/cache/save")]

    assert {each["path"] for each in [*restored, *saved]} == {".ssq/failures\n.ssq/nightly\n"}
    assert all(each["key"].startswith(one["restore-keys"]) for each in saved for one in restored)
    assert len({each["key"] for each in saved}) == len(saved) == len(JOBS)


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_actions_are_pinned(workflow, job):
    """Each action is GitHub's own, of one major version; the token can read, and no more."""
    used = [step["uses"] for step in job["steps"] if "uses" in step]

    assert [each for each in used if not re.fullmatch(r"actions/[a-z/-]+@v\d+", each)] == []
    assert workflow["permissions"] == {"contents": "read"}

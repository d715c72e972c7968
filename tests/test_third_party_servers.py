"""Do queues on real servers, unmodified, break what THIRD_PARTY_SERVERS.md says, each version of them?"""

import os
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from judged_beside import JOBS, judged
from ssq_core.queue import RetryPolicy, utc_now
from ssq_stress.faults import Fault, Phase
from ssq_stress.runner import Plan, stress
from ssq_verify import script, servers, versions
from ssq_verify.schemas import OwnServerOnly
from ssq_verify.servers import Place
from ssq_verify.subject import NotThatVersion, Policy, UnknownSubject, load
from ssq_verify.verdict import Finding

pytestmark = pytest.mark.xdist_group("third-party-servers")
"""Each version is judged once, for all that is asked about it."""

ROOT = Path(__file__).parents[1]
INSTALLED = ("huey-redis", "huey-sqlite", "pgqueuer", "procrastinate", "rq")
BESIDE = ("huey-redis@3.4.0", "huey-sqlite@3.4.0", "pgqueuer@0.25.0", "pgqueuer@0.25.1")
NO_VERDICT = {"not-vacuous"}
"""It says how much was tried, and promises nothing."""


@pytest.fixture(scope="module", autouse=True)
def beside():
    """Install the versions that stand beside the installed ones."""
    for reference in BESIDE:
        name, version = versions.parted(reference)
        if not versions.is_installed(versions.package_of(name), version):
            versions.install(versions.package_of(name), version)


def table():
    """Return the page's table: for each subject what is violated, holds, and is not offered."""
    text = (ROOT / "THIRD_PARTY_SERVERS.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    return {
        name.strip(" `"): [set(cell.replace(",", " ").split()) for cell in cells] for name, *cells in rows
    }


def found(reference, finding):
    """Return the invariants of which that was found."""
    verdicts = judged(reference)["verdicts"]
    return {name for name, seen in verdicts.items() if seen == finding} - NO_VERDICT


@pytest.mark.scenario("simulation/a-queue-on-a-server-is-judged-as-it-is")
@pytest.mark.parametrize("reference", [*INSTALLED, *BESIDE])
def test_a_package_breaks_what_the_table_says(reference):
    """Each breaks what its row says, keeps the rest, and is not held to what it never promised."""
    violated, holds, not_offered = table()[reference]

    assert found(reference, Finding.VIOLATED) == violated
    assert found(reference, Finding.HOLDS) == holds
    assert found(reference, Finding.NOT_OFFERED) == not_offered


def test_the_table_has_a_row_for_each():
    """No row is without a test, and no test without a row."""
    assert sorted(table()) == sorted([*INSTALLED, *BESIDE])


@pytest.mark.scenario("simulation/a-mended-defect-tells-versions-apart")
def test_a_dead_workers_job_comes_back_since_pgqueuer_0_25_1():
    """Under a limit of concurrency 0.25.0 gives a dead worker's job to nobody; the next version does."""
    told = judged("pgqueuer@0.25.0")["broken"]

    assert any(re.search(r"was to be had from .* but \w+ found nothing", sentence) for sentence in told)
    assert judged("pgqueuer@0.25.1")["lost"] == []


@pytest.mark.scenario("simulation/a-mended-defect-tells-versions-apart")
def test_one_lost_reply_takes_no_other_task_with_it_since_huey_3_5():
    """A reply that the scheduler never got cost 3.4.0 all tasks that were due after it."""
    assert judged("huey-redis@3.4.0")["lost"] == [f"job {job}" for job in JOBS[1:]]
    assert judged("huey-redis")["lost"] == []


@pytest.mark.scenario("simulation/a-mended-defect-tells-versions-apart")
def test_one_refused_task_takes_no_other_with_it_since_huey_3_5():
    """A task that the database refused is lost in either version, and in 3.4.0 all that came after it."""
    assert judged("huey-sqlite@3.4.0")["lost"] == [f"job {job}" for job in JOBS]
    assert judged("huey-sqlite")["lost"] == ["job j1"]


def test_the_version_that_was_judged_is_the_one_that_is_installed():
    """What an adapter says that it adapts, the version pinned for it, and the installed one are the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = dict(pin.split("==") for pin in project["optional-dependencies"]["third-party"])

    for name in INSTALLED:
        package, version = (sys.modules[load(name).factory.__module__].__doc__ or "").split()[:2]
        assert package == versions.package_of(name)
        assert version.rstrip(",") == pins[package] == metadata.version(package), name


@pytest.fixture
def environment_of_its_own(tmp_path, monkeypatch):
    """Let this process have judged nothing, in an environment without versions beside."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(versions, "_chosen", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "before")


@pytest.mark.usefixtures("environment_of_its_own")
@pytest.mark.scenario("simulation/a-version-that-is-not-installed")
def test_a_version_is_never_installed_silently(ssq, is_one_line):
    """Whoever names one that is not there is told the command that installs it."""
    with pytest.raises(NotThatVersion):
        load("pgqueuer@0.25.0")
    code, out, error = ssq("verify", "pgqueuer@0.25.0")

    assert (code, out) == (64, "")
    assert is_one_line(error, "pgqueuer 0.25.0 is not installed beside; ssq install pgqueuer@0.25.0")


@pytest.mark.usefixtures("environment_of_its_own")
@pytest.mark.scenario("simulation/two-versions-in-one-process")
def test_a_process_judges_one_version_of_a_package():
    """A second one is refused, for what was imported stays; processes that are started find the first."""
    for version in ("1", "2"):
        versions.folder("pgqueuer", version).mkdir(parents=True)
    versions.choose("pgqueuer", "1")

    with pytest.raises(versions.VersionClash, match="1 and 2 can not be judged in one process"):
        versions.choose("pgqueuer", "2")
    assert sys.path[0] == str(versions.folder("pgqueuer", "1"))
    assert os.environ["PYTHONPATH"] == os.pathsep.join([sys.path[0], "before"])


@pytest.mark.usefixtures("environment_of_its_own")
@pytest.mark.scenario("simulation/two-versions-in-one-process")
def test_a_package_that_was_imported_is_not_taken_for_another_version():
    """Where the installed version was imported already, none is judged by the name of another."""
    load("huey-sqlite")
    versions._chosen.clear()
    versions.folder("huey", "3.4.0").mkdir(parents=True)

    with pytest.raises(UnknownSubject, match=r"huey: the installed one and 3\.4\.0 can not be judged"):
        load("huey-sqlite@3.4.0")


def test_a_script_imports_the_version_that_it_was_written_of():
    """A program that needs only the queue finds it beside the installed one, too."""
    written = script._queue("huey-sqlite@3.4.0")

    assert f"sys.path.insert(0, {str(versions.folder('huey', '3.4.0'))!r})" in written
    assert "from ssq_verify.subjects.huey_sqlite import open_queue" in written


@pytest.mark.parametrize("name", ["pgqueuer", "procrastinate"])
def test_tables_of_fixed_names_want_a_server_of_their_own(tmp_path, monkeypatch, name):
    """In a part of somebody's database there is no room for them, which is said."""
    for variable, value in servers.environment("postgres", Place(url="postgresql://", area="a")).items():
        monkeypatch.setenv(variable, value)
    policy = Policy(lease_ttl_seconds=60, retry=RetryPolicy(), max_clock_skew_seconds=0, clock=utc_now)

    with pytest.raises(OwnServerOnly, match="unset SSQ_POSTGRES_URL"):
        load(name).factory(tmp_path, policy)


@pytest.mark.parametrize("reference", ["pgqueuer", "nobody@1.0", "pgqueuer@"])
def test_install_names_what_it_takes(ssq, is_one_line, reference):
    """It takes a subject and a version."""
    code, _, error = ssq("install", reference)

    assert code == 64
    assert is_one_line(error, reference, "as in pgqueuer@0.25.0")


@pytest.mark.usefixtures("environment_of_its_own")
def test_a_version_that_nobody_made_is_told(ssq, is_one_line):
    """What pip says is passed on, in one line, and no folder is left for it."""
    code, _, error = ssq("install", "huey-sqlite@0.0.0.dev1")

    assert code == 64
    assert is_one_line(error, "huey 0.0.0.dev1 can not be installed", "No matching distribution")
    assert not versions.is_installed("huey", "0.0.0.dev1")


@pytest.mark.scenario("stress/a-sweeper-is-struck")
def test_a_sweeper_is_a_process_that_is_struck(tmp_path):
    """Under stress the scheduler is beside the workers, is killed in the midst of a round, and replaced."""
    out = tmp_path / "out"
    out.mkdir()
    faults = frozenset({Fault.KILL})
    plan = Plan(seconds=1.0, consumers=2, producers=1, faults=faults, strikes=40, seed=0)

    report, _ = stress(load("huey-sqlite"), plan, out=out)

    assert report.matrix[f"{Fault.KILL} while {Phase.SWEEP}"] > 0
    assert {each.invariant for each in report.verdicts if each.verdict is Finding.VIOLATED} == set()


@pytest.mark.scenario("stress/without-a-sweeper-the-claim-sweeps")
@pytest.mark.parametrize("has_sweeper", [False, True])
def test_where_nobody_sweeps_a_claim_does(tmp_path, has_sweeper):
    """A claim brings back what is due, unless a process of its own is there for that."""
    policy = Policy(
        lease_ttl_seconds=60,
        retry=RetryPolicy(backoff_base_seconds=0.0),
        max_clock_skew_seconds=0.0,
        clock=utc_now,
        has_sweeper=has_sweeper,
    )
    queue = load("huey-sqlite").factory(tmp_path, policy)
    queue.enqueue("j1")
    queue.release(claim=queue.claim(worker_id="w1"))

    claim = queue.claim(worker_id="w1")
    queue.close()

    assert (claim is None) == has_sweeper

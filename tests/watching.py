"""What do the tests of a night share? Watches that show what a script says, in no time."""

from types import SimpleNamespace

from ssq_stress.back_to_simulation import Sought
from ssq_stress.nights import night as night_module
from ssq_stress.nights.night import FOLDER, Night, stand
from ssq_stress.plan import Plan
from ssq_stress.record import Record
from ssq_verify.history import Event, EventType
from ssq_verify.subject import load
from ssq_verify.verdict import Evidence, Violation

LOST = "no-lost-job"
WATCH_SECONDS = 300.0
HISTORY_BYTES = 1_000


def violation(*fs, invariant=LOST, sentence="j1 was lost"):
    """Return a violation whose witness are these events, each `FUNCTION` or `FUNCTION:TYPE`."""
    witness = []
    for index, told in enumerate(fs):
        f, _, kind = told.partition(":")
        witness.append(Event(index=index, time_ns=index, worker="w1", type=EventType(kind or "ok"), f=f))
    return Violation(invariant=invariant, run=0, job_id="j1", sentence=sentence, witness=tuple(witness))


def record(*violations, kills=1):
    """Return the record of a watch that saw these, and nothing else."""
    evidence = tuple(Evidence(invariant=each.invariant, violation=each) for each in violations)
    return Record(evidence=evidence, matrix={"kill while ack": kills}, rounds=1, executions=1)


def shown(record, *, interrupted=None, sought=None):
    """Return what a watch with that record comes back with."""
    return SimpleNamespace(
        seen=SimpleNamespace(record=record),
        interrupted=interrupted,
        sought=sought or Sought(),
        again=(),
    )


class Watching:
    """Stands for what stresses a subject: each watch takes its time by a clock that it moves."""

    def __init__(self, monkeypatch, *script):
        self.script, self.plans, self.known, self.now = list(script), [], [], 0.0
        monkeypatch.setattr(night_module, "Stressing", lambda **_: self)
        monkeypatch.setattr(night_module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def run(self, plan, folder, *, known):
        """Show what comes next in the script, or raise it; at its end somebody ends the night."""
        self.plans.append(plan)
        self.known.append(set(known))
        self.now += WATCH_SECONDS
        (folder / "history.jsonl").write_bytes(b"x" * HISTORY_BYTES)
        outcome = self.script.pop(0) if self.script else KeyboardInterrupt()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class Nowhere:
    """No server."""

    def __enter__(self):
        return None

    def __exit__(self, *_):
        return False


def stood(out, plan=None, **given):
    """Stand a night of the subject `file` in a folder."""
    out.mkdir(exist_ok=True)
    plan = plan or Plan(seconds=3_600.0, profile="nightly")
    return stand(Night(subject=load("file"), plan=plan, out=out, serve=Nowhere, processes=1, **given))


def there(out):
    """Return the watches of which there is a folder."""
    return sorted(int(path.name) for path in (out / FOLDER).iterdir())

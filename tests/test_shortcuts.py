"""Does a run mean the same whether or not its simulator takes its shortcuts?"""

import pytest

from ssq_verify.execution import scratch
from ssq_verify.machine import SETTINGS
from ssq_verify.repro import digest
from ssq_verify.scenario import Faults
from ssq_verify.simulation import campaign, entries, interposition
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.strategies import AtRandom
from ssq_verify.simulation.world import World
from ssq_verify.subject import load

SEEDS = 200
FAULTS = Faults(kills=1, errors=1, pauses=1, pause_seconds=(65.0,))


def run_of(subject, seed):
    """Return all that a seed's run shows."""
    small = campaign.small(SETTINGS, workers=2, jobs=2, faults=FAULTS)
    with scratch() as workdir:
        run = simulate(small, subject, AtRandom(seed, strike=0.05), workdir)
    return digest(run.history), run.tape, run.owners, run.deviations, run.trace, run.faults


@pytest.mark.parametrize(("name", "seeds"), [("file", SEEDS), ("sqlite", 40), ("naive-file", SEEDS)])
def test_who_runs_alone_passes_its_points_as_if_it_had_stopped(name, seeds, monkeypatch):
    """Histories, tapes and traces are the same as when each point is a stop, and each is made anew."""
    interposition.install()
    subject = load(name)
    quick = [run_of(subject, seed) for seed in range(seeds)]
    monkeypatch.setattr(World, "may_pass", lambda *_: False)
    monkeypatch.setattr(entries, "point_of", entries.point_of.__wrapped__)

    assert [run_of(subject, seed) for seed in range(seeds)] == quick
    assert len({tape for _, tape, *_ in quick}) > seeds / 4

"""Print the digest of each seed's simulated run on a subject: `python tests/digests.py SUBJECT SEEDS`.

For comparing processes, hash seeds and Pythons: the same lines are the same runs, byte for byte.
"""

import sys

from ssq_verify.execution import scratch
from ssq_verify.machine import SETTINGS
from ssq_verify.repro import digest
from ssq_verify.scenario import Faults
from ssq_verify.simulation import campaign, interposition
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.strategies import AtRandom
from ssq_verify.subject import load


def digests(name, seeds):
    """Yield the digest of each seed's run, in which a worker may be killed."""
    interposition.install()
    subject = load(name)
    small = campaign.small(SETTINGS, workers=2, jobs=2, faults=Faults(kills=1))
    for seed in range(seeds):
        with scratch() as workdir:
            run = simulate(small, subject, AtRandom(seed), workdir)
        yield f"{digest(run.history)} {hash(run.tape):x}"


if __name__ == "__main__":
    for line in digests(sys.argv[1], int(sys.argv[2])):
        print(line)  # noqa: T201 - a script

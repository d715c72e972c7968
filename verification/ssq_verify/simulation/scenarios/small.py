"""What is small enough to be tried in every order? So many workers, each with one claim and one ack."""

from ssq_verify.history import Terms
from ssq_verify.scenario import Settings
from ssq_verify.sightings import Sighting
from ssq_verify.simulation.scenarios.named import Takes, named
from ssq_verify.simulation.scenarios.parts import Scenarios, backlog, handles, scenario


@named("Two workers want the only job.", Sighting.TWO_CLAIMS, takes=Takes.PREEMPTION)
def _one_job_two_workers(settings: Settings, _terms: Terms) -> Scenarios:
    return (scenario(settings, backlog("j1"), handles("w1", "one"), handles("w2", "other")),)


@named("Two workers want two jobs.", Sighting.TWO_CLAIMS, takes=Takes.PREEMPTION)
def _two_jobs_two_workers(settings: Settings, _terms: Terms) -> Scenarios:
    return (scenario(settings, backlog("j1", "j2"), handles("w1", "one"), handles("w2", "other")),)


SCENARIOS = (_one_job_two_workers, _two_jobs_two_workers)

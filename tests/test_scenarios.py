"""Does each scenario of the catalogue do what it says, on queues that keep their promises?"""

import msgspec
import pytest

from ssq_verify.execution import scratch
from ssq_verify.history import Terms, joined
from ssq_verify.judge import judge
from ssq_verify.machine import SETTINGS
from ssq_verify.scenario import Scenario, StepKind
from ssq_verify.sightings import executions_max, sightings
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scenarios import CATALOGUE, Takes, offered
from ssq_verify.simulation.scenarios.needs import OFFERED, Need
from ssq_verify.simulation.strategies import AtRandom
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import load
from ssq_verify.verdict import Finding

TERMS = Terms(
    lease_ttl_seconds=SETTINGS.lease_ttl_seconds,
    max_clock_skew_seconds=SETTINGS.max_clock_skew_seconds,
    backoff_base_seconds=SETTINGS.backoff_base_seconds,
    batches=True,
)
"""What a queue without batches is asked to do with many jobs it does one by one."""
OURS = ["file", "sqlite"]
TERMS_OF = {"file": msgspec.structs.replace(TERMS, forks=True), "sqlite": TERMS}
"""SQLite's connections do not cross a fork, so that no copy of a handle is what a child has."""
PLAIN = Replay(())
SEEDS = 150
BY_TIME = [name for name, named in CATALOGUE.items() if named.takes is Takes.NOTHING]
BY_CHANCE = [name for name in CATALOGUE if name not in BY_TIME]


def history_of(scenario, subject, strategy):
    """Return the history of one simulated run."""
    with scratch() as workdir:
        return simulate(scenario, load(subject), strategy, workdir).history


def seen_in(name, subject, strategy):
    """Return what a schedule of the scenarios of one name shows."""
    runs = [
        history_of(scenario, subject, strategy) for scenario in CATALOGUE[name](SETTINGS, TERMS_OF[subject])
    ]
    return sightings(joined(runs))


@pytest.mark.scenario("simulation/a-scenario-does-what-it-says")
@pytest.mark.parametrize("subject", OURS)
@pytest.mark.parametrize("name", BY_TIME)
def test_time_alone_brings_a_scenario_about(name, subject):
    """With the plainest schedule the history shows what the scenario is for."""
    assert set(CATALOGUE[name].shows) <= set(seen_in(name, subject, PLAIN))


@pytest.mark.parametrize(
    ("name", "subject"),
    [(name, our) for name in BY_CHANCE for our in OURS if CATALOGUE[name](SETTINGS, TERMS_OF[our])],
)
def test_some_schedule_brings_a_scenario_about(name, subject):
    """What takes a preemption or a fault is not there without, and one of the first seeds brings it."""
    wanted = set(CATALOGUE[name].shows)
    assert not wanted <= set(seen_in(name, subject, PLAIN))

    assert any(wanted <= set(seen_in(name, subject, AtRandom(seed, strike=0.1))) for seed in range(SEEDS))


@pytest.mark.scenario("simulation/sound-queues-are-not-accused")
@pytest.mark.parametrize("subject", OURS)
def test_sound_queues_are_not_accused(subject):
    """Our own queues keep every promise in all scenarios, with the plainest schedule and a few others."""
    found = [
        history_of(scenario, subject, strategy)
        for _, scenario in offered(SETTINGS, TERMS_OF[subject])
        for strategy in (PLAIN, AtRandom(1), AtRandom(2))
    ]

    verdicts = judge(joined(found), ways=("simulation",))
    assert [each for each in verdicts if each.verdict is Finding.VIOLATED] == []
    assert executions_max(sightings(joined(found))) == SETTINGS.max_attempts


def test_the_same_scenarios_are_made_every_time():
    """Settings and terms alone decide, and every scenario has a sentence and something to show."""
    assert list(offered(SETTINGS, TERMS)) == list(offered(SETTINGS, TERMS))
    assert all(named.sentence.endswith(".") and named.shows for named in CATALOGUE.values())


def test_a_scenario_comes_back_from_json():
    """What is written of any of them is read as the same, strange clocks and all."""
    for _, scenario in offered(SETTINGS, TERMS):
        assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario


@pytest.mark.scenario("simulation/a-clock-that-jumps-to-and-fro")
@pytest.mark.parametrize("subject", OURS)
def test_a_clock_that_jumps_within_e_excuses_nothing(subject):
    """Both its errors are in the history, no two clocks are further apart than E, and all is judged."""
    for scenario in CATALOGUE["clocks-strobe"](SETTINGS, TERMS):
        history = history_of(scenario, subject, PLAIN)
        shown = [float(event.value) for event in history.events if event.f == "clock"] + [0.0]

        assert max(shown) - min(shown) == SETTINGS.max_clock_skew_seconds
        assert [each for each in judge(history, ways=()) if each.verdict is Finding.VIOLATED] == []


NEEDS_LEASE = {
    *(f"{do}-after-{when}" for do in ("ack", "release", "extend") for when in ("expiry", "the-next-claim")),
    *(f"reclaim-inside-{what}" for what in ("claim", "ack", "release", "extend")),
    "poison-job",
    "second-kill",
    "time-zones",
}


@pytest.mark.scenario("simulation/what-a-queue-does-not-offer-is-left-out")
@pytest.mark.parametrize(
    ("less", "left_out"),
    [
        ({"lease": False}, NEEDS_LEASE),
        ({"fencing": False}, {"ack-after-the-next-claim", "release-after-the-next-ack"}),
        ({"extend": False}, {"heartbeats-then-death", "extend-after-expiry", "reclaim-inside-extend"}),
        ({"release": False}, {"dead-letter-by-release", "release-after-expiry", "back-off-ends"}),
        ({"max_attempts": None}, {"poison-job", "dead-letter-by-release", "dead-letter-by-expiry"}),
        ({"dead_letters": False}, {"kill-inside-requeue"}),
        ({"idempotent_enqueue": False}, {"two-producers-of-one-job", "enqueue-of-a-held-job"}),
        ({"back_off": False}, {"back-off-ends"}),
        ({"forks": False}, {"two-producers-of-one-parent"}),
        ({"max_clock_skew_seconds": 0.0}, {"clocks-differ-by-e", "clocks-jump", "clocks-strobe"}),
        ({"max_clock_skew_seconds": None}, {"clocks-differ-by-more-than-e"}),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_what_a_queue_does_not_offer_is_left_out(less, left_out):
    """A queue that promises less gets fewer scenarios, and those that need nothing of it stay."""
    terms = Terms(**{field: getattr(TERMS, field) for field in TERMS.__struct_fields__} | less)
    names = {named.name for named, _ in offered(SETTINGS, terms)}

    assert not names & left_out
    assert {"one-job-two-workers", "two-producers", "enqueue-races-claim"} <= names


@pytest.mark.parametrize("operation", ["extend", "release"])
def test_no_step_asks_for_what_is_not_offered(operation):
    """A queue without an operation is never asked for it, in whatever scenario."""
    terms = Terms(max_clock_skew_seconds=2.0, **{operation: False})

    steps = [step for _, scenario in offered(SETTINGS, terms) for step in scenario.steps]

    assert steps
    assert StepKind(operation) not in {step.do for step in steps}


def test_each_need_is_decided():
    """No scenario can ask for something of which nobody says when a queue offers it."""
    assert set(OFFERED) == set(Need)

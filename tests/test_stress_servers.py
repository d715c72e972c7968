"""Is a server struck as it is ordered, brought back, and a queue on it judged by what then happened?"""

import pytest

from ssq_stress.faults import Fault, Order, Phase
from ssq_stress.judging import excerpt
from ssq_stress.nemesis import server as nemesis
from ssq_stress.processes.board import Board, Field
from ssq_stress.processes.log import EventLog, events
from ssq_stress.runner import Plan, stress
from ssq_stress.servers import Redis, ServerFailed
from ssq_stress.serving import served
from ssq_verify import history
from ssq_verify.report.story import rows
from ssq_verify.servers import Place, environment
from ssq_verify.subject import load
from ssq_verify.verdict import Finding, Violation

FIRST, RACE = 2, 1
"""Points of an order by which the server stands still before the worker goes on, or the two race."""


class Told:
    """A server that notes what is done to it, and whether the worker still stands then."""

    name = "redis"

    def __init__(self, slot):
        self.blows = []
        self._slot = slot

    def __getattr__(self, blow):
        if blow not in {"start", "kill", "pause", "resume"}:
            raise AttributeError(blow)
        return lambda: self.blows.append((blow, bool(self._slot.get(Field.STANDS))))


class Scene:
    """A server, a worker that stands for a blow, and a clock moved by hand."""

    def __init__(self, folder, monkeypatch):
        self.slot = Board.made(folder / "board", slots=1).slot(0)
        self.slot.set(Field.STANDS, 1)
        self.server = Told(self.slot)
        self.path = folder / "events.jsonl"
        self.outages = nemesis.Outages(self.server, EventLog(self.path))
        self.now_ns = 1_000_000_000
        monkeypatch.setattr(nemesis, "MONOTONIC_NS", lambda: self.now_ns)

    def strike(self, fault, point):
        """Strike it for a second, inside an ack."""
        order = Order(fault=fault, phase=Phase.ACK, point=point, seconds=1.0)
        self.outages.strike(order, self.slot, where=Phase.ACK)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """Set one."""
    return Scene(tmp_path, monkeypatch)


@pytest.mark.scenario("stress/a-blow-falls-while-a-worker-stands")
@pytest.mark.parametrize(
    ("fault", "point", "blows"),
    [
        (Fault.SERVER_KILL, FIRST, [("pause", True), ("kill", False)]),
        (Fault.SERVER_KILL, RACE, [("kill", False)]),
        (Fault.SERVER_PAUSE, FIRST, [("pause", True)]),
        (Fault.SERVER_PAUSE, RACE, [("pause", False)]),
    ],
)
def test_a_worker_meets_the_server_as_it_was_ordered(scene, fault, point, blows):
    """By the order the worker goes on to a server that moves no more, or the two race."""
    scene.strike(fault, point)

    assert scene.server.blows == blows
    assert not scene.outages.is_up


@pytest.mark.scenario("stress/a-server-is-brought-back")
@pytest.mark.parametrize(("fault", "back"), [(Fault.SERVER_KILL, "start"), (Fault.SERVER_PAUSE, "resume")])
def test_a_server_is_brought_back_in_its_time(scene, fault, back):
    """It stays down for as long as was ordered, is then brought back once, and both are in the history."""
    scene.strike(fault, FIRST)
    scene.outages.tick()
    down = [blow for blow, _ in scene.server.blows]
    scene.now_ns += 1_500_000_000
    scene.outages.tick()
    scene.outages.heal()

    assert back not in down
    assert [blow for blow, _ in scene.server.blows] == [*down, back]
    assert scene.outages.is_up
    told = [(event.worker, event.f, event.value) for event in events(scene.path)]
    assert told == [("redis", fault, "ack"), ("redis", "server-back", None)]


@pytest.mark.scenario("stress/the-story-tells-of-the-blow")
def test_a_story_tells_what_cut_an_operation_off():
    """The blow at the server, and the cut of a connection, stand between an ack and its missing answer."""
    job = {"job_id": "j1", "claim_id": "c1"}
    told = [
        ("w1", "invoke", "ack", job),
        ("redis", "info", "server-kill", {"value": "ack"}),
        ("w2", "info", "connection-cut", {"value": "reply lost|request 1 of claim"}),
        ("w1", "info", "connection-cut", {"value": "request lost|request 1 of ack"}),
        ("w1", "info", "ack", job | {"value": "OutcomeUnknown: gone"}),
        ("redis", "info", "server-back", {}),
    ]
    happened = history.History(
        events=tuple(
            history.Event(index=n, time_ns=n, worker=worker, type=history.EventType(kind), f=f, **fields)
            for n, (worker, kind, f, fields) in enumerate(told)
        )
    )
    violation = Violation(invariant="no-lost-job", run=0, job_id="j1", sentence="it is lost", witness=())

    shown = [row.text for row in rows(*excerpt(happened, violation))]

    assert shown == [
        "the server is killed",
        "its connection is cut: request lost",
        "ack c1 → OutcomeUnknown: gone",
    ]


@pytest.fixture
def no_server(monkeypatch):
    """Let no variable name a server, so that one is started."""
    for name in environment("redis", Place(url="")):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.scenario("stress/a-correct-queue-on-a-server-that-dies")
@pytest.mark.usefixtures("no_server")
def test_a_correct_queue_outlives_its_server(tmp_path):
    """While its server is killed, frozen and brought back, the queue on it breaks nothing."""
    plan = Plan(
        seconds=1.0,
        consumers=3,
        producers=1,
        faults=frozenset({Fault.SERVER_KILL, Fault.SERVER_PAUSE}),
        strikes=6,
    )
    subject = load("redis")
    with served("redis", subject, in_turns=False) as server:
        report, _ = stress(subject, plan, out=tmp_path, server=server)
    names = [event.f for event in history.read(report.history).events]
    struck = report.tally["server-kill"] + report.tally["server-pause"]

    assert [each for each in report.verdicts if each.verdict is Finding.VIOLATED] == []
    assert report.tally["drained"] == 1
    assert struck == names.count("server-back") > 0
    assert {name.split(" while ")[0] for name in report.matrix} == set(report.faults) & set(names)


@pytest.mark.scenario("stress/a-server-that-does-not-come-back")
@pytest.mark.usefixtures("no_server")
def test_a_server_that_does_not_come_back_is_not_the_queues_fault(ssq, is_one_line, monkeypatch):
    """The run ends as a failure of the harness, with the server's last words and no verdict."""
    started, start = [], Redis.start

    def once(server):
        if started:
            raise ServerFailed("redis: it ended with code 1: Bad file format")
        started.append(server)
        start(server)

    monkeypatch.setattr(Redis, "start", once)

    code, out, error = ssq(
        "stress", "redis", "--for", "20s", "--workers", "2", "--producers", "1", "--faults", "server-kill"
    )

    assert code == 70
    assert is_one_line(error, "the harness itself failed", "Bad file format")
    assert "holds" not in out

"""Of what a worker and its server say to each other, is that lost which is to be lost, and nothing else?"""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from ssq_stress.faults import Fault, Order, Phase
from ssq_stress.nemesis import Victim, connection_cut
from ssq_stress.nemesis.connection_cut import Loss
from ssq_stress.processes.board import Board
from ssq_stress.processes.log import EventLog, events
from ssq_stress.processes.points import Striker, Watched
from ssq_stress.servers import ServerFailed
from ssq_stress.servers.between import AT_ONCE, KINDS, REPLY_LOST, REQUEST_LOST, RESET
from ssq_stress.servers.relay import Relay

STRANGER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    for line in sys.stdin:
        connection.sendall(line.strip().encode())
        print(connection.recv(99).decode(), flush=True)
"""
CLOSED = b""


class Echo:
    """A server that notes each request before it answers."""

    socket_name = "socket"

    def __init__(self, folder):
        self.folder, self.requests = folder, []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / self.socket_name))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def url_in(self, folder):
        """Return the path of the socket there."""
        return str(folder / self.socket_name)

    def close(self):
        """Take no more connections."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with connection, suppress(OSError):
            while request := connection.recv(99):
                self.requests.append(request)
                connection.sendall(b"did " + request)


class Talking:
    """A queue whose claim is some requests, over a connection that it makes anew when that has broken."""

    def __init__(self, url):
        self._url, self.made = url, None

    def claim(self, *requests):
        """Make these requests, and return their answers."""
        return [self._ask(request) for request in requests]

    def _ask(self, request):
        if self.made is None:
            self.made = socket.socket(socket.AF_UNIX)
            self.made.connect(self._url)
        answer = CLOSED
        try:
            # The other side may have closed before the request, as well as before its answer.
            with suppress(BrokenPipeError):
                self.made.sendall(request)
                answer = self.made.recv(99)
        finally:
            if answer == CLOSED:
                self.close()
        return answer

    def close(self):
        """Close the connection."""
        if self.made is not None:
            self.made.close()
            self.made = None


class Scene:
    """A server, a relay before it, and a worker with an order on its board."""

    def __init__(self, folder, server, relay):
        board = Board.made(folder / "board", slots=1)
        self.server, self.slot, self.path = server, board.slot(0), folder / "events.jsonl"
        victim = Victim(
            name="w1",
            slot=self.slot,
            log=EventLog(self.path),
            clock_limit_ns=0,
            disk=None,
            failing=lambda: None,
        )
        self.striker = Striker(board, self.slot, recovers=False)
        self.striker.act = lambda order, where: connection_cut.from_inside(victim, order, where)
        self.striker.cutting = lambda order, where: connection_cut.around(victim, order, where)
        self.talking = Talking(relay.url)
        self.queue = Watched(self.talking, self.striker)

    def order(self, kind, request, phase=Phase.CLAIM):
        """Give the order to lose something of the next claim."""
        point = Loss(kind=kind, request=request).point_of(request)
        self.slot.give(Order(fault=Fault.CONNECTION_CUT, phase=phase, point=point))

    @property
    def told(self):
        """What the history says."""
        return [(event.worker, event.f, event.value) for event in events(self.path)]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """Set one."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = Echo(folder)
    with Relay(server) as relay:
        monkeypatch.setenv(connection_cut.CONTROL, str(relay.control))
        scene = Scene(tmp_path, server, relay)
        yield scene
        scene.talking.close()
    server.close()


@pytest.mark.scenario("stress/what-is-lost-of-a-request")
@pytest.mark.parametrize(
    ("kind", "done"), [(REQUEST_LOST, [b"one"]), (REPLY_LOST, [b"one", b"two"]), (RESET, [b"one"])]
)
def test_the_request_that_was_named_is_lost(scene, kind, done):
    """A request is not done, or done without a reply; the worker finds the connection closed, or reset."""
    scene.order(kind, 2)

    if kind == RESET:
        with pytest.raises(ConnectionResetError):
            scene.queue.claim(b"one", b"two")
    else:
        assert scene.queue.claim(b"one", b"two") == [b"did one", CLOSED]

    assert scene.server.requests == done
    assert scene.told == [("w1", "connection-cut", f"{kind}|request 2 of claim")]
    assert not scene.slot.is_ordered


@pytest.mark.scenario("stress/what-is-lost-of-a-request")
@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_is_made_meanwhile_is_struck_too(scene, kind):
    """The first request of a worker that connects within its operation is lost as any other."""
    scene.order(kind, 1)

    with suppress(ConnectionResetError):
        assert scene.queue.claim(b"one") == [CLOSED]

    assert scene.server.requests == ([b"one"] if kind == REPLY_LOST else [])
    assert len(scene.told) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_operation_of_fewer_requests_is_struck_at_its_last(scene, kind):
    """An operation that makes too few loses nothing, and the next one loses its last."""
    scene.order(kind, 3)
    first = scene.queue.claim(b"one")
    told = scene.told
    with suppress(ConnectionResetError):
        assert scene.queue.claim(b"two") == [CLOSED]

    assert (first, told) == ([b"did one"], [])
    assert scene.told == [("w1", "connection-cut", f"{kind}|request 1 of claim")]


def test_an_operation_without_requests_voids_the_order(scene):
    """What asks for nothing can't be cut off, and keeps its worker from no other order."""
    scene.order(REPLY_LOST, 1)
    scene.queue.claim()

    assert (scene.told, scene.slot.is_ordered) == ([], False)


def test_an_order_ends_with_its_operation(scene):
    """Once the worker has lost something, its next requests go through."""
    scene.order(REQUEST_LOST, 1)
    scene.queue.claim(b"one")

    assert scene.queue.claim(b"two", b"three") == [b"did two", b"did three"]
    assert scene.server.requests == [b"two", b"three"]


@pytest.mark.scenario("stress/a-cut-is-one-worker-s")
@pytest.mark.parametrize("kind", KINDS)
def test_another_workers_requests_go_through(scene, kind):
    """While one worker's request is to be lost, another process group's is answered."""
    command = [sys.executable, "-I", "-S", "-c", STRANGER, scene.talking._url]
    stranger = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    scene.order(kind, 1)
    with stranger, scene.striker.inside(Phase.CLAIM, "claim"):
        stranger.stdin.write("theirs\n")
        stranger.stdin.flush()
        answer = stranger.stdout.readline()
        stranger.stdin.close()
        stranger.wait()

    assert answer == "did theirs\n"
    assert (scene.server.requests, scene.told) == ([b"theirs"], [])


@pytest.mark.scenario("stress/cut-between-two-operations")
def test_between_two_operations_a_connection_is_closed(scene):
    """An idle connection is closed under its worker, and that is written down; without one nothing is."""
    scene.order(REQUEST_LOST, 1, phase=Phase.IDLE)
    scene.striker.arrive(Phase.IDLE)
    told = scene.told
    scene.queue.claim(b"one")
    scene.order(REQUEST_LOST, 1, phase=Phase.IDLE)
    scene.striker.arrive(Phase.IDLE)

    assert told == []
    assert scene.talking.made.recv(1) == CLOSED
    assert scene.told == [("w1", "connection-cut", AT_ONCE)]


def test_a_server_that_has_gone_is_gone_behind_a_relay(scene):
    """Where the server takes no connection, the worker's is closed, or reset if it had spoken by then."""
    scene.server.close()

    try:
        assert scene.queue.claim(b"one") == [CLOSED]
    except ConnectionResetError:
        assert scene.talking.made is None


def test_a_relay_that_ends_is_the_harness_failure(tmp_path):
    """If the relay is killed, that is said in place of all that came of it."""
    server = Echo(tmp_path)
    relay = Relay(server)
    with pytest.raises(ServerFailed, match="code -9") as failed:
        die_within(relay)
    server.close()

    assert isinstance(failed.value.__cause__, LookupError)


def die_within(relay):
    """Kill a relay while it is used, and fail as whoever uses it would."""
    with relay:
        os.kill(relay.pid, signal.SIGKILL)
        os.waitid(os.P_PID, relay.pid, os.WEXITED | os.WNOWAIT)
        raise LookupError("a worker could not open the queue")

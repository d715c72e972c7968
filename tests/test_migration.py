"""Does each job arrive as it stood, and is a queue that moves closed to everybody else?"""

from datetime import timedelta

import pytest

from moving import NOW, REST_SECONDS, SOURCES, Memory, filled, opened, source
from ssq_core import QueueMigrated, open_queue
from ssq_core.migration import destination_at, migrate
from ssq_core.queue import LeaseLost, QueueIOError, RetryPolicy, utc_now
from ssq_core.stored import DamagedJob, Mark, Moved, MoveRefused
from ssq_verify.workplace import drained

KINDS = ("file", "sqlite")


@pytest.fixture(params=KINDS)
def kind(request):
    """Name a kind of queue whose jobs can move."""
    return request.param


@pytest.fixture
def server(request, dsn, redis):
    """Return the URL of an empty queue on a server, and how its name is called there."""
    return {"postgres": (dsn, "table"), "redis": (redis.url, "name")}[request.param]


@pytest.mark.scenario("migration/a-job-of-each-state-moves")
@pytest.mark.parametrize("server", ["postgres", "redis"], indirect=True)
def test_a_job_of_each_state_moves(tmp_path, kind, server):
    """Order, payloads, attempts, the end of a rest and a death are in the destination as they were."""
    url, named = server
    now, place = utc_now(), tmp_path / "q"
    jobs = filled(kind, place, now=now)
    name = f"moved_{kind}"
    destination = destination_at(url, name=name)

    ended = migrate(source(kind, place, now=now), destination)

    assert ended.moved == Moved(position=6, queued=4, resting=1, dead=1)
    queue = open_queue(url, **{named: name}, retry=RetryPolicy(max_attempts=2))
    (letter,) = queue.dead()
    assert (letter.job_id, letter.attempts, letter.died_at) == ("dead", 2, now)
    assert letter.payload == b"dead" + bytes(range(256))
    assert (queue.stats().queued, queue.stats().delayed) == (4, 1)
    claims = [queue.claim(worker_id="w") for _ in range(4)]
    assert [(claim.job_id, claim.attempt) for claim in claims] == [
        ("gone", 2),
        ("j0", 1),
        ("j1", 1),
        ("j2", 1),
    ]
    assert all(claim.payload == claim.job_id.encode() + bytes(range(256)) for claim in claims)
    assert queue.claim(worker_id="w") is None
    assert jobs[1] == "resting"
    destination.close()


def test_a_rest_ends_when_it_would_have(tmp_path, kind):
    """What the source hands over is the instant itself."""
    filled(kind, tmp_path / "q")
    destination = Memory()

    migrate(source(kind, tmp_path / "q"), destination)

    rests = {job.job_id: job.available_at for job in destination.jobs.values() if job.available_at}
    assert rests == {"resting": NOW + timedelta(seconds=REST_SECONDS)}


def test_a_holder_that_used_the_last_attempt_leaves_a_dead_letter(tmp_path, kind, dsn):
    """A job whose only attempt ended with its worker is buried by the first claim of the destination."""
    now, once = utc_now(), RetryPolicy(max_attempts=1)
    queue = opened(kind, tmp_path / "q", now=now - timedelta(hours=2), retry=once)
    queue.enqueue("j1")
    queue.claim(worker_id="gone")
    destination = destination_at(dsn)

    migrate(source(kind, tmp_path / "q", now=now), destination)

    moved = open_queue(dsn, retry=once)
    assert drained(moved) == []
    assert [(letter.job_id, letter.attempts) for letter in moved.dead()] == [("j1", 1)]
    destination.close()


@pytest.mark.scenario("migration/a-record-is-damaged")
def test_a_record_is_damaged(tmp_path):
    """All others move, and the note says that one did not."""
    filled("file", tmp_path / "q")
    (entry,) = [path for path in (tmp_path / "q/queue").rglob("*4.*") if path.name.startswith(f"{4:016x}.")]
    entry.write_bytes(entry.read_bytes()[:-1])
    destination = Memory()

    giving = source("file", tmp_path / "q")

    ended = migrate(giving, destination)

    assert list(destination.jobs) == ["dead", "resting", "gone", "j1", "j2"]
    assert ended.moved.damaged == 1
    assert DamagedJob(position=4) in list(giving.stored())


def test_an_enqueue_that_may_have_been_answered_moves(tmp_path):
    """A pending entry with an identity is a job: its enqueue's last rename may have missed the fence."""
    queue = opened("file", tmp_path / "q")
    queue.enqueue("j1")
    (entry,) = (tmp_path / "q/queue").glob("*/*")
    entry.rename(entry.with_name(entry.name.replace(".q.0.0.-", f".t.0.0.{'a' * 16}")))
    destination = Memory()

    migrate(source("file", tmp_path / "q"), destination)

    assert list(destination.jobs) == ["j1"]


@pytest.mark.scenario("migration/a-worker-holds-a-job")
def test_a_worker_holds_a_job(tmp_path, kind):
    """A queue of which a job is held is refused, and goes on as if nothing had been."""
    queue = opened(kind, tmp_path / "q", lease_ttl_seconds=60)
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w")
    destination = Memory()

    with pytest.raises(MoveRefused, match=r"1 of its jobs are held by workers; .* until 2024-05-01 00:01:05"):
        migrate(source(kind, tmp_path / "q", skew_seconds=5), destination)

    queue.ack(claim=claim)
    assert destination.notes == {}


@pytest.mark.scenario("migration/a-worker-claims-while-the-queue-is-being-closed")
def test_a_worker_claims_while_the_queue_is_being_closed(tmp_path, monkeypatch):
    """A claim between the look at the leases and the fence is seen by a second look, and all is put back."""
    queue = opened("file", tmp_path / "q")
    queue.enqueue("j1")
    say, claims = SOURCES["file"]._say, []

    def claim_first(giving, content):
        claims.append(queue.claim(worker_id="w"))
        say(giving, content)

    monkeypatch.setattr(SOURCES["file"], "_say", claim_first)
    with pytest.raises(MoveRefused, match="held by workers"):
        migrate(source("file", tmp_path / "q"), Memory())

    queue.ack(claim=claims[0])
    opened("file", tmp_path / "q").enqueue("j1")
    assert drained(queue) == ["j1"]


@pytest.mark.scenario("migration/a-handle-is-open-while-the-queue-moves")
@pytest.mark.parametrize("durability", ["power-loss", "process-crash"])
def test_a_handle_is_open_while_the_queue_moves(tmp_path, kind, durability):
    """An open handle can't enqueue, claim or ack any more, whether the id moved or is new."""
    place = tmp_path / "q"
    filled(kind, place)
    queue = opened(kind, place, durability=durability)
    late = opened(kind, place, now=NOW - timedelta(hours=2)).claim(worker_id="late")
    queue.enqueue("last")
    giving = source(kind, place)

    migrate(giving, Memory())

    steps = (
        lambda: queue.enqueue("new"),
        lambda: queue.enqueue("j1"),
        lambda: queue.claim(worker_id="w"),
        lambda: queue.release(claim=late),
        lambda: queue.extend(claim=late),
        lambda: queue.ack(claim=late),
        queue.stats,
        queue.dead,
        lambda: queue.requeue_dead("dead"),
    )
    before = giving.count()
    for step in steps:
        with pytest.raises((QueueIOError, LeaseLost)):
            step()
    assert giving.count() == before


@pytest.mark.scenario("migration/a-moved-queue-is-opened")
def test_a_moved_queue_is_opened(tmp_path, kind):
    """It is said where the jobs went, while they move and afterwards; and that is all that happens."""
    place = tmp_path / "q"
    filled(kind, place)
    giving = source(kind, place)
    giving.fence(Mark(token="0" * 16, destination="memory"))

    with pytest.raises(QueueMigrated, match="are being moved, by `ssq migrate`, to memory"):
        opened(kind, place)
    destination = Memory()
    migrate(giving, destination)
    with pytest.raises(QueueMigrated, match="were moved to memory; open that instead"):
        opened(kind, place)

    assert migrate(giving, destination).was_complete
    assert giving.count() == len(destination.jobs)


@pytest.mark.scenario("migration/the-destination-has-jobs")
@pytest.mark.parametrize("server", ["postgres", "redis"], indirect=True)
def test_the_destination_has_jobs(tmp_path, kind, server):
    """A destination with jobs of its own is refused, and the source goes on."""
    url, named = server
    open_queue(url, **{named: f"used_{kind}"}).enqueue("other")
    filled(kind, tmp_path / "q")
    destination = destination_at(url, name=f"used_{kind}")

    with pytest.raises(MoveRefused, match="it has jobs already"):
        migrate(source(kind, tmp_path / "q"), destination)

    assert drained(opened(kind, tmp_path / "q")) == ["gone", "j0", "j1", "j2"]
    destination.close()


@pytest.mark.scenario("migration/a-producer-was-early")
@pytest.mark.parametrize("server", ["postgres", "redis"], indirect=True)
def test_a_producer_was_early(tmp_path, kind, server):
    """An id that was enqueued after the move began is there once, as it was enqueued, and counted."""
    url, named = server
    filled(kind, tmp_path / "q")
    giving, destination = source(kind, tmp_path / "q"), destination_at(url, name=f"early_{kind}")
    mark = Mark(token="0" * 16, destination=destination.where)
    giving.fence(mark)
    destination.begin(mark.token)
    queue = open_queue(url, **{named: f"early_{kind}"})
    queue.enqueue("j1", payload=b"early")

    ended = migrate(giving, destination)

    assert (ended.moved.seen, ended.moved.met, ended.moved.queued) == (6, 1, 3)
    claim = queue.claim(worker_id="w")
    assert (claim.job_id, claim.payload) == ("j1", b"early")
    destination.close()


def test_two_movers_of_a_folder_exclude_each_other(tmp_path):
    """While one has the folder, the other is told so; afterwards it can have it."""
    filled("file", tmp_path / "q")
    first = source("file", tmp_path / "q")

    with pytest.raises(MoveRefused, match="another `ssq migrate` is moving it"):
        source("file", tmp_path / "q")

    first.close()
    source("file", tmp_path / "q").close()


def test_a_piece_that_begins_elsewhere_changes_nothing(tmp_path, dsn, redis):
    """On both servers a piece is taken only where the note ends."""
    filled("file", tmp_path / "q")
    memory = Memory()
    migrate(source("file", tmp_path / "q"), memory)
    (piece,) = memory.pieces
    for destination in (destination_at(dsn), destination_at(redis.url, name="elsewhere")):
        destination.begin("token")

        first, again = destination.adopt("token", piece), destination.adopt("token", piece)

        assert first == destination.moved("token")
        assert again is None
        destination.close()

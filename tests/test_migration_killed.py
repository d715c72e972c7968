"""Is each job in the destination once, whenever the mover was killed, and whoever came in between?"""

import gc
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import psycopg
import pytest

from moving import Death, Killed, Memory, dying, filled, moved, opened, source
from ssq_core import migration
from ssq_core.migration import migrate
from ssq_core.stored import MoveRefused
from ssq_verify.workplace import drained

KINDS = ("file", "sqlite")
SSQ = Path(sys.executable).with_name("ssq")


def killed(kind, place, destination, chosen):
    """Move as a process does that dies before its chosen step; tell whether it had so many."""
    death = Death(chosen)
    destination.death = death
    giving, left_open = None, set()
    try:
        with pytest.MonkeyPatch.context() as patched:
            left_open = dying(patched, death)
            giving = source(kind, place)
            migrate(giving, destination)
    except Killed:
        pass
    finally:
        destination.death = Death(10**9)
        # The system closes what a dead process had open, and so gives back its lock and its transaction.
        for file in left_open:
            os.close(file)
        if kind == "sqlite" and giving is not None:
            giving.close()
        del giving
        gc.collect()
    return death.came


@pytest.mark.scenario("migration/the-mover-is-killed-before-any-of-its-steps")
@pytest.mark.parametrize("kind", KINDS)
def test_the_mover_is_killed_before_any_of_its_steps(tmp_path, monkeypatch, kind):
    """Death before each step in turn, then another run: all is there once, in its order."""
    monkeypatch.setattr(migration, "PIECE_JOBS_MAX", 2)
    deaths = 0
    for chosen in count(1):
        place, destination = tmp_path / f"q{chosen}", Memory()
        jobs = filled(kind, place)
        if not killed(kind, place, destination, chosen):
            break
        deaths += 1

        moved(kind, place, destination)

        assert list(destination.jobs) == jobs
        (note,) = destination.notes.values()
        assert (note.queued, note.resting, note.dead, note.met) == (4, 1, 1, 0)
    assert deaths > 20


@pytest.mark.scenario("migration/workers-begin-before-the-move-is-over")
@pytest.mark.parametrize("kind", KINDS)
def test_workers_begin_before_the_move_is_over(tmp_path, monkeypatch, kind):
    """What was finished in the destination between two deaths of the mover does not come back."""
    monkeypatch.setattr(migration, "PIECE_JOBS_MAX", 2)
    for chosen in count(1):
        place, destination = tmp_path / f"q{chosen}", Memory()
        jobs = filled(kind, place)
        if not killed(kind, place, destination, chosen):
            break
        finished = list(destination.jobs)
        destination.jobs.clear()

        moved(kind, place, destination)

        assert finished + list(destination.jobs) == jobs


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_that_was_fenced_for_nothing_is_usable_again(tmp_path, kind):
    """Killed at any step while it is put back, as the destination has jobs, it is put back next time."""
    for chosen in count(1):
        place, destination = tmp_path / f"q{chosen}", Memory()
        filled(kind, place)
        destination.begin = lambda _token: None
        try:
            was_killed = killed(kind, place, destination, chosen)
        except MoveRefused:
            was_killed = False
        destination.jobs["other"] = None
        with pytest.raises(MoveRefused, match="has jobs already"):
            moved(kind, place, destination)

        assert opened(kind, place).claim(worker_id="w").job_id == "gone"
        if not was_killed:
            break


@pytest.mark.scenario("migration/a-piece-arrives-after-its-mover-was-killed")
@pytest.mark.parametrize("kind", KINDS)
def test_a_piece_arrives_after_its_mover_was_killed(tmp_path, monkeypatch, kind):
    """A piece that is taken twice is noted once, and the mover goes on behind it."""
    monkeypatch.setattr(migration, "PIECE_JOBS_MAX", 2)
    jobs, destination = filled(kind, tmp_path / "q"), Memory()
    adopt, late = destination.adopt, []

    def adopt_late_piece_first(token, piece):
        if not late:
            late.append(adopt(token, piece))
        return adopt(token, piece)

    destination.adopt = adopt_late_piece_first

    ended = moved(kind, tmp_path / "q", destination)

    assert list(destination.jobs) == jobs
    assert (ended.moved.seen, ended.moved.met) == (6, 0)


@pytest.mark.scenario("migration/the-process-is-killed-on-its-way-to-postgresql")
def test_the_process_is_killed_on_its_way_to_postgresql(tmp_path, dsn, opened):
    """The command is killed five times, each time while a piece is on its way, and ends the sixth time."""
    place = tmp_path / "q"
    jobs = filled("file", place, queued=2_997)
    command = [str(SSQ), "migrate", f"file://{place}", dsn]
    destination = opened()
    with psycopg.connect(dsn) as connection:
        for _ in range(5):
            killed_with_a_piece_on_its_way(command, connection)

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("3,000 jobs moved: 2,999 queued, 0 resting, 1 dead; in their order\n")
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT convert_from(job_id, 'UTF8') FROM ssq_jobs ORDER BY seq").fetchall()
    assert [job_id for (job_id,) in rows] == jobs
    assert drained(destination) == jobs[1:]


def killed_with_a_piece_on_its_way(command, connection):
    """Keep the server from writing, and kill the mover as soon as it waits for that; then let it write."""
    connection.execute("LOCK TABLE ssq_jobs IN SHARE MODE")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as mover:
        while connection.execute("SELECT FROM pg_locks WHERE NOT granted").rowcount == 0:
            assert mover.poll() is None, mover.stderr.read()
        mover.kill()
    connection.commit()

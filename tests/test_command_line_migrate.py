"""What does `ssq migrate` say, and how does it end?"""

import json

import pytest

from ssq_core.file import FileWorkerQueue
from ssq_core.redis import RedisWorkerQueue

NOWHERE = "postgresql://user:secret@127.0.0.1:1/jobs"


@pytest.fixture
def folder(tmp_path):
    """Give a queue with three jobs, in a folder with a space in its name."""
    queue = FileWorkerQueue(tmp_path / "a queue")
    for number in range(3):
        queue.enqueue(f"j{number}")
    return f"file://{tmp_path}/a%20queue"


def test_migrate_tells_what_moved_and_what_comes_next(ssq, folder, dsn):
    """A move ends with what moved and what to do; the same command again says that nothing was left."""
    code, out, err = ssq("migrate", folder, dsn)
    _, again, _ = ssq("migrate", folder, dsn)

    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "3 jobs moved: 3 queued, 0 resting, 0 dead; in their order"
    assert out.splitlines()[1].startswith("next: start the workers on table ssq_jobs at ")
    assert again.splitlines()[0].endswith("(by an earlier run; there was nothing left to do)")


def test_migrate_prints_one_document(ssq, folder, redis):
    """With --json the counts are one document; --table names the keys."""
    code, out, _ = ssq("migrate", folder, redis.url, "--table", "command", "--json")

    told = json.loads(out)
    assert code == 0
    assert (told["jobs"], told["queued"], told["was_complete"]) == (3, 3, False)
    assert RedisWorkerQueue(redis.url, name="command").stats().queued == 3


def test_a_dry_run_changes_nothing(ssq, tmp_path, folder):
    """With --dry-run the jobs are counted, the destination is not asked, and the queue goes on."""
    code, out, _ = ssq("migrate", folder, NOWHERE, "--dry-run")

    assert (code, out) == (0, f"3 jobs would move from {tmp_path}/a queue; nothing was changed\n")
    FileWorkerQueue(tmp_path / "a queue").enqueue("j4")


@pytest.mark.scenario("migration/bad-input-is-one-line")
@pytest.mark.parametrize(
    "case",
    [
        ("file:///nowhere/at/all", NOWHERE, "no such folder"),
        ("sqlite:///nowhere.db", NOWHERE, "no such file"),
        ("file://{folder}", NOWHERE, "no queue there"),
        ("sqlite://{folder}/other.db", NOWHERE, "not a queue"),
        ("file://relative", NOWHERE, "three slashes"),
        ("postgresql://host/db", NOWHERE, "can not be moved from"),
        ("{queue}", "{queue}", "can not be moved to"),
        ("{queue}", NOWHERE, "nothing was changed"),
    ],
)
def test_bad_input_is_one_line(ssq, tmp_path, folder, case):
    """Whatever can't be used is told in one line without the password, with exit code 64."""
    given, destination, told = case
    (tmp_path / "other.db").touch()
    names = {"folder": tmp_path, "queue": folder}

    code, out, err = ssq("migrate", given.format(**names), destination.format(**names))

    assert (code, out) == (64, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("ssq: ")
    assert told in err
    assert "secret" not in err


def test_another_destination_is_refused(ssq, is_one_line, folder, dsn):
    """Jobs that have moved to one table are not moved to another."""
    ssq("migrate", folder, dsn)

    code, _, err = ssq("migrate", folder, dsn, "--table", "other")

    assert code == 64
    assert is_one_line(err, "were moved to table ssq_jobs at ", "already")

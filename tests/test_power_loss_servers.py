"""Do servers on a disk that loses its power keep what they promise, and are those that don't seen to lose?"""

import pytest
import redis as driver

from ssq_stress.nemesis.power_loss import unavailable
from ssq_stress.power.losses import Losses, Nobody, lose_power, undone
from ssq_stress.power.resident import OnDisk, resident
from ssq_stress.servers import Redis, ServerFailed
from ssq_verify.judge import judge
from ssq_verify.subject import load
from ssq_verify.verdict import Finding

LOSSES = Losses(count=4)
FINE = {Finding.HOLDS, Finding.VACUOUS, Finding.NOT_OFFERED}


@pytest.fixture
def losable():
    """Leave out what this machine can not do."""
    if (reason := unavailable()) is not None:
        pytest.skip(f"not available: {reason}")


@pytest.mark.usefixtures("losable")
@pytest.mark.scenario("power-loss/servers-that-sync-before-they-answer")
@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_server_that_syncs_before_it_answers_loses_nothing(tmp_path, name):
    """Every enqueue and ack that had returned holds, and the server starts by itself each time."""
    subject = load(name)
    server = resident(subject)

    history = lose_power(subject, LOSSES, tmp_path, server)
    verdicts = {each.invariant: each.verdict for each in judge(history, ways=("stress",))}

    assert verdicts["durable"] is Finding.HOLDS
    assert set(verdicts.values()) <= FINE
    assert undone(history, limit=1) == ()
    assert server.mended == 0


@pytest.mark.usefixtures("losable")
@pytest.mark.scenario("power-loss/servers-that-answer-before-they-sync")
@pytest.mark.parametrize("name", ["postgres-async", "redis-everysec"])
def test_a_server_that_answers_before_it_syncs_is_seen_to_lose(tmp_path, name):
    """Some of what it had answered is gone, which its subject does not promise; all else still holds."""
    subject = load(name)

    history = lose_power(subject, LOSSES, tmp_path, resident(subject))
    verdicts = {each.invariant: each.verdict for each in judge(history, ways=("stress",))}

    assert undone(history, limit=1)
    assert verdicts["durable"] is Finding.NOT_OFFERED
    assert set(verdicts.values()) <= FINE


def damage(folder):
    """Leave zeros at the end of a log, as a file has that had grown when the power failed."""
    (log,) = folder.glob("**/*.incr.aof")
    with log.open("ab") as file:
        file.write(bytes(512))


@pytest.mark.scenario("power-loss/a-server-that-refuses-what-is-left")
def test_a_log_with_zeros_at_its_end_is_mended(tmp_path):
    """The server refuses it, its own program cuts it off there, and what came before is served."""
    with Redis(parent=tmp_path) as server, driver.Redis.from_url(server.url) as client:
        client.set("a", 1)
        server.kill()
        damage(tmp_path)

        with pytest.raises(ServerFailed, match="Bad file format"):
            server.start()
        assert server.mend()
        server.start()

        assert client.get("a") == b"1"


@pytest.mark.scenario("power-loss/a-server-that-refuses-what-is-left")
def test_a_mended_start_is_counted(tmp_path):
    """One that starts by itself is not."""
    server = OnDisk("redis", {})
    try:
        for damaged in (False, True):
            server.start(tmp_path)
            server.stop()
            if damaged:
                damage(tmp_path)
        server.start(tmp_path)
    finally:
        server.close()

    assert server.mended == 1


def test_what_can_not_be_mended_is_the_servers_own_error(tmp_path):
    """Without a log there is nothing to cut off, and the server's last words are told."""
    server = OnDisk("redis", {"appendonly": "no"})
    try:
        server.start(tmp_path)
        server.stop()
        (folder,) = tmp_path.glob("*/data")
        (folder / "dump.rdb").write_bytes(b"no snapshot")

        with pytest.raises(ServerFailed, match="redis: it ended with code"):
            server.start(tmp_path)
    finally:
        server.close()

    assert server.mended == 0


def test_a_queue_in_files_needs_nobody_on_the_disk():
    """Only a subject with a server has a resident."""
    assert isinstance(resident(load("file")), Nobody)

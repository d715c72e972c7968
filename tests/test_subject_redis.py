"""Is the Redis queue judged as it is, on a server of the harness's own or on somebody's?"""

import json

import pytest
import redis as driver

from ssq_core.redis_scripts import ALL, ASK_TIME
from ssq_stress.servers import Redis
from ssq_stress.serving import served
from ssq_verify import servers
from ssq_verify.subject import load
from ssq_verify.subjects.redis import told


def verified(ssq, reference):
    """Verify quickly, and return exit code and the verdicts by invariant."""
    code, out, error = ssq("verify", reference, "--json")
    assert error == ""
    return code, {each["invariant"]: each for each in json.loads(out)["verdicts"]}


@pytest.mark.scenario("redis-backend/the-subject-needs-nothing-set-up")
def test_the_subject_needs_nothing_set_up(ssq, monkeypatch):
    """`ssq verify redis` starts a server, and what workers in turns can show holds; the rest needs stress."""
    for name in servers.environment("redis", servers.Place(url="")):
        monkeypatch.delenv(name, raising=False)

    code, verdicts = verified(ssq, "redis")

    assert code == 0
    found = {name: (each["verdict"], each.get("needs")) for name, each in verdicts.items()}
    needs_stress = {name for name, (_, needs) in found.items() if needs == "stress"}
    assert needs_stress == {"durable", "not-vacuous"}
    assert {verdict for name, (verdict, _) in found.items() if name not in needs_stress} == {"holds"}


@pytest.mark.scenario("redis-backend/a-given-server-is-left-as-it-was")
def test_a_given_server_is_left_as_it_was(ssq):
    """On a server that a URL names, whose clock is not ours, the same holds, and no key of ours stays."""
    with Redis(is_durable=False) as server, driver.Redis.from_url(server.url) as client:
        client.set("theirs", 1)

        code, verdicts = verified(ssq, server.url)

        assert code == 0
        assert {each["verdict"] for each in verdicts.values()} <= {"holds", "vacuous"}
        assert client.keys() == [b"theirs"]


@pytest.mark.scenario("redis-backend/a-given-server-is-left-as-it-was")
@pytest.mark.parametrize("script", ALL, ids=range(len(ALL)))
def test_a_script_is_told_the_time_and_nothing_else(script):
    """Where the server's clock can't be set, the scripts differ by where the time comes from alone."""
    asks = script.text.count(ASK_TIME)

    assert asks == script.text.count("TIME") <= 1
    assert told(script).text == script.text.replace(ASK_TIME, "ARGV[#ARGV - 1], ARGV[#ARGV]")


@pytest.mark.scenario("redis-backend/the-subject-needs-nothing-set-up")
def test_a_server_that_can_not_be_reached_is_one_line(ssq, is_one_line):
    """A URL that leads to no server ends at once, with a line that has no password in it."""
    code, out, error = ssq("verify", "redis://user:s3cret@localhost:1/0", "--json")

    assert code == 64
    assert is_one_line(error, "localhost:1", "can not connect")
    assert "s3cret" not in out + error


def test_the_promises_are_those_of_a_server_that_keeps_the_time():
    """Any clock may be wrong, and the order is that of enqueueing."""
    promises = load("redis").promises

    assert (promises.max_clock_skew_seconds, promises.order) == (None, "fifo")


@pytest.mark.scenario("redis-backend/a-subject-promises-what-its-server-keeps")
@pytest.mark.parametrize(
    ("name", "durability", "settings"),
    [
        ("redis", "power-loss", {"appendonly": "yes", "appendfsync": "always"}),
        ("redis-everysec", "process-crash", {"appendonly": "yes", "appendfsync": "everysec"}),
        ("redis-snapshots", "none", {"appendonly": "no", "save": "60 1"}),
    ],
)
def test_a_subject_promises_what_its_server_keeps(monkeypatch, name, durability, settings):
    """Under stress each subject has a server that is set as its promise says."""
    monkeypatch.delenv("SSQ_REDIS_URL", raising=False)
    subject = load(name)

    with served(name, subject, in_turns=False), driver.Redis.from_url(servers.place("redis").url) as client:
        found = client.config_get(*settings)

    assert subject.promises.durability == durability
    assert found == settings

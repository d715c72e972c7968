"""What does a disk that is really full do to a queue? A tiny file system of its own, filled to the brim."""

import os
import subprocess
import sys

import pytest

FILL = """
import os
import sys
from ssq_core import QueueIOError, open_queue

# More than the 4 MB to which SQLite's log grows before it is used again.
ballast, url = sys.argv[1:]
with open(ballast, "wb") as file:
    file.write(bytes(8_000_000))
queue = open_queue(url)
accepted = 0
try:
    while True:
        queue.enqueue(f"j{accepted}", payload=b"x" * 50_000)
        accepted += 1
except QueueIOError as error:
    print(error)
    refused = f"j{accepted}"
os.unlink(ballast)

taken = []
while (claim := queue.claim(worker_id="w1")) is not None:
    assert claim.payload == b"x" * 50_000
    queue.ack(claim=claim)
    taken.append(claim.job_id)
assert [job for job in taken if job != refused] == [f"j{number}" for number in range(accepted)], taken
queue.enqueue(refused)
again = queue.claim(worker_id="w1")
assert again is not None and again.job_id == refused
print(accepted)
"""


@pytest.mark.scenario("lease-queue/a-full-disk-refuses-one-job")
@pytest.mark.parametrize("url", ["file://{}/queue", "sqlite://{}/queue.db"], ids=["file", "sqlite"])
def test_a_full_disk_refuses_one_job_and_loses_none(url, tmp_path):
    """The enqueue that finds no room raises one clear line; once there is room, all jobs are handled."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mounted = 'mount -t tmpfs -o size=16m none "$0" && exec "$@"'
    command = ["unshare", *as_root, "--mount", "sh", "-c", mounted, str(tmp_path)]

    ended = subprocess.run(
        [*command, sys.executable, "-c", FILL, str(tmp_path / "ballast"), url.format(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr
    refusal, accepted = ended.stdout.splitlines()
    assert int(accepted) > 10
    assert refusal.startswith("enqueue failed at ")

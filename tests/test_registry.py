"""Which queue does a URL open?"""

import subprocess
import sys

import pytest

from ssq_core import open_queue
from ssq_core.file import FileWorkerQueue
from ssq_core.sqlite import SqliteWorkerQueue


@pytest.mark.scenario("lease-queue/a-url-opens-a-queue")
@pytest.mark.parametrize(("scheme", "kind"), [("file", FileWorkerQueue), ("sqlite", SqliteWorkerQueue)])
def test_a_url_opens_a_queue(tmp_path, scheme, kind):
    """The scheme names the backend, the path is the URL's, and settings go through."""
    queue = open_queue(f"{scheme}://{tmp_path}/q", lease_ttl_seconds=5)

    assert isinstance(queue, kind)
    assert (tmp_path / "q").exists()
    queue.enqueue("j1")
    claim = queue.claim(worker_id="w1")
    assert (claim.lease_expires_at - claim.claimed_at).total_seconds() == 5


@pytest.mark.scenario("lease-queue/a-url-opens-a-queue")
@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_a_path_is_percent_decoded(tmp_path, scheme):
    """Percent escapes stand for any character of a path, UTF-8 or not."""
    open_queue(f"{scheme}://{tmp_path}/a%20b%3F%25%C3%A9%FF")

    assert b"a b?%\xc3\xa9\xff" in [
        bytes(path.name, "utf-8", "surrogateescape") for path in tmp_path.iterdir()
    ]


@pytest.mark.scenario("lease-queue/a-url-that-names-no-queue-is-refused")
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql:///x", r"write one of file:///path, sqlite:///path"),
        ("x.db", r"write one of"),
        ("", r"write one of"),
        ("file:rel", r"write one of"),
        ("file://rel/path", r"three slashes"),
        ("sqlite://", r"three slashes"),
        ("sqlite:///", r"three slashes"),
        ("sqlite:///x.db?mode=ro", r"write %3F"),
        ("file:///x#y", r"write %23"),
    ],
)
def test_a_url_that_names_no_queue_is_refused(url, said):
    """A URL without a known scheme or an absolute path raises one line that says what to write."""
    with pytest.raises(ValueError, match=said) as refused:
        open_queue(url)

    assert "\n" not in str(refused.value)


@pytest.mark.scenario("lease-queue/a-backend-is-loaded-when-it-is-opened")
def test_a_backend_is_loaded_when_it_is_opened():
    """Importing the package loads neither backend nor their drivers."""
    backends = ("sqlite3", "redis", "ssq_core.file", "ssq_core.sqlite", "ssq_core.redis")
    script = f"import sys, ssq_core; print([name for name in {backends} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"

"""How do workers race for a PostgreSQL queue in a test? Under an isolation level, all at one moment."""

import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

LEVELS = ["read committed", "repeatable read", "serializable"]
START_SECONDS_MAX = 60


def at_level(dsn, level):
    """Return the URL with an isolation level as the session's default."""
    return f"{dsn}&options=" + quote(f"-c default_transaction_isolation={level.replace(' ', chr(92) + ' ')}")


def at_once(workers, work):
    """Let so many threads begin their work at one moment; return what each comes to."""
    barrier = threading.Barrier(workers)

    def begin(number):
        barrier.wait(START_SECONDS_MAX)
        return work(number)

    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(begin, range(workers)))

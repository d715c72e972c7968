"""Which job ids may be in the queue? Where ids are the queue's own, a live one is not enqueued again."""

from collections import Counter


class LiveJobs:
    """Ids that were enqueued and not acked since."""

    def __init__(self) -> None:
        self._live: set[str] = set()
        self._incarnations: Counter[str] = Counter()
        self._claims: dict[str, int] = {}
        """Of which incarnation a claim was, by the name that the scenario gives it."""

    def __contains__(self, job_id: str) -> bool:
        """Whether the job may be in the queue."""
        return job_id in self._live

    def enqueued(self, job_id: str) -> None:
        """Note an enqueue, whatever comes of it."""
        self._live.add(job_id)
        self._incarnations[job_id] += 1

    def claimed(self, name: str, job_id: str) -> None:
        """Note a claim."""
        self._claims[name] = self._incarnations[job_id]

    def acked(self, name: str, job_id: str) -> None:
        """Note an ack that returned ok; a late one says nothing of a job that has come since."""
        if self._claims.get(name) == self._incarnations[job_id]:
            self._live.discard(job_id)

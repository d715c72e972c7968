"""How is a history written down in a line? A small language for tests and for `ssq explain`.

`h("w1 enqueue j1", "w1 claim j1#1", "w1 dies", "+61s", "w2 claim j1#2", "w2 ack j1#2")` is a history: each
item one whole operation, invocation and completion, each event a microsecond after the one before. The items:

    w1 enqueue j1            w1 enqueue j1 =text      an enqueue that returned; with a payload
    w1 claim j1#2            w1 claim j1              a claim of j1, attempt 2; of a queue that counts none
    w1 claim j1#2 =text      w1 claim -               with that payload, else the last sent; nothing there
    w1 ack j1#2              w1 release j1#2          of w1's latest claim written so, else of anyone's
    w1 extend j1#2           w1 requeue j1            a heartbeat; a dead job given a new incarnation
    … !lost                  … !away                  it raised LeaseLost, QueueUnavailable (fail)
    … !KeyError: no file                              it raised another error (info)
    … ?                      … dies                   its outcome is not known (info); a death inside it
    w1 claim <               w1 > j1#1                it is called; it returns: what lies between overlaps
    w1 ack j1#1 <            w1 >   w1 > !lost        as above: ok, or one of the outcomes
    w1+1 claim <             w1+1 > j2#1              the second job of a call with many
    w1 dies                  w1 clock +2s             between operations: a death; a clock set 2 s ahead
    +61s  +3ms  +10us        next run                 time passes; another run begins
    heal  drained  dead j1   drain-cut 100 polls      what the harness saw
    power-loss  io-error     pause w1  resume w1      further faults

A claim's id is `c1`, `c2`, … in the order of the claims.
"""

import base64
import re

import msgspec

from ssq_verify.history import LEASE_LOST, Event, EventType, Header, History, Terms

STEP_NS = 1_000
_UNITS_NS = {"us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_ITEM = re.compile(
    r"(?P<worker>[^\s+]+(?:\+\d+)?) (?P<f>enqueue|claim|ack|release|extend|requeue|>)"
    r"(?: (?!dies$)(?P<job>[^\s!?<=>]+))?(?: =(?P<payload>\S*))?(?: (?P<end>!.+|\?|<|dies))?"
)
_SINGLE = re.compile(
    r"(?P<f>heal|drained|drain-cut|dead|present|power-loss|io-error|pause|resume)(?: (?P<value>.+))?"
)
_WORKER_FAULT = re.compile(r"(?P<worker>\S+) (?P<f>dies|clock|opens)(?: (?P<value>[+-]?[\d.]+)s)?")
_TIME = re.compile(r"\+(?P<count>[\d.]+)(?P<unit>us|ms|s)")
_DEFINITE = {"!lost": LEASE_LOST, "!away": "QueueUnavailable"}
_Fields = dict[str, str | int | None]


class InvalidNotation(ValueError):  # noqa: N818 - it names what is invalid
    """An item that the language does not know."""

    def __init__(self, item: str, reason: str) -> None:
        super().__init__(f"{item!r}: {reason}; see ssq_verify.notation for the language")
        self.item = item
        self.reason = reason


def h(*items: str, terms: Terms | None = None) -> History:
    """Return the history that the items write down. Raises `InvalidNotation`, `InvalidHistory`."""
    scribe = _Scribe()
    for item in items:
        scribe.add(item)
    return History(header=Header(terms=terms or Terms()), events=tuple(scribe.events)).validated()


def items(line: str) -> tuple[str, ...]:
    """Split a line of items that semicolons part, as in the headers of the invariants."""
    return tuple(item.strip() for item in line.split(";") if item.strip())


class _Scribe:
    """Writes events one after the other, and remembers which claim is meant by `j1#1`."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._now_ns = 0
        self._run = 0
        self._claims = 0
        self._payloads: dict[str, str] = {}
        self._claim_ids: dict[tuple[str, ...], str] = {}
        self._open: dict[str, tuple[str, _Fields]] = {}
        """What each worker has open, and each of its lanes: `w1`, `w1+1`, …"""

    def add(self, item: str) -> None:
        """Write the events of one item."""
        if item == "next run":
            self._run += 1
            self._payloads, self._claim_ids, self._open = {}, {}, {}
        elif match := _TIME.fullmatch(item):
            self._now_ns += round(float(match["count"]) * _UNITS_NS[match["unit"]])
        elif match := _SINGLE.fullmatch(item):
            self._single(match["f"], match["value"])
        elif match := _WORKER_FAULT.fullmatch(item):
            self._worker_fault(match["worker"], match["f"], match["value"])
        elif match := _ITEM.fullmatch(item):
            self._operation(item, match)
        else:
            raise InvalidNotation(item, "no such item")

    def _single(self, f: str, value: str | None) -> None:
        worker = value if f in {"pause", "resume"} and value else "harness"
        self._write(
            worker,
            EventType.INFO,
            f,
            job_id=value if f in {"dead", "present"} else None,
            value=value if f == "drain-cut" else None,
        )

    def _worker_fault(self, worker: str, f: str, value: str | None) -> None:
        name = {"dies": "crash", "opens": "open"}.get(f, f)
        self._write(worker, EventType.INFO, name, value=value if f == "clock" else None)
        self._open = {lane: each for lane, each in self._open.items() if _name(lane) != worker}

    def _operation(self, item: str, match: re.Match[str]) -> None:
        worker, f, job, end = match["worker"], match["f"], match["job"], match["end"] or ""
        if f == ">":
            if worker not in self._open:
                raise InvalidNotation(item, f"{worker} has nothing open")
            f, about = self._open.pop(worker)
        else:
            if (job is None) != (f == "claim" and bool(end)):
                raise InvalidNotation(
                    item, "a claim names what it returned, if it did; the others name a job"
                )
            about = self._about(worker, f, job, match["payload"])
            self._write(worker, EventType.INVOKE, f, **about)
        if end == "<":
            self._open[worker] = (f, about)
        elif f == "claim" and not end and job not in {None, "-"}:
            self._write(worker, EventType.OK, f, **self._claimed(worker, str(job), match["payload"]))
        else:
            self._complete(worker, f, {**about, "value": None}, end)

    def _about(self, worker: str, f: str, job: str | None, payload: str | None) -> _Fields:
        if f == "claim" or job is None:
            return {}
        if f in {"ack", "release", "extend"}:
            job_id, attempt = _named(job)
            claim_id = (
                self._claim_ids.get((job, _name(worker))) or self._claim_ids.get((job,)) or f"unseen {job}"
            )
            return {"job_id": job_id, "claim_id": claim_id, "attempt": attempt}
        if f == "enqueue":
            self._payloads[job] = payload or ""
            return {"job_id": job, "value": _encoded(payload or "")}
        return {"job_id": job}

    def _complete(self, worker: str, f: str, about: _Fields, end: str) -> None:
        if end == "dies":
            self._write(_name(worker), EventType.INFO, "crash")
        elif end in _DEFINITE:
            self._write(worker, EventType.FAIL, f, **{**about, "value": _DEFINITE[end]})
        elif end:
            self._write(worker, EventType.INFO, f, **{**about, "value": end[1:] or None})
        else:
            self._write(worker, EventType.OK, f, **about)

    def _claimed(self, worker: str, job: str, payload: str | None) -> _Fields:
        self._claims += 1
        claim_id = f"c{self._claims}"
        self._claim_ids[(job,)] = self._claim_ids[(job, _name(worker))] = claim_id
        job_id, attempt = _named(job)
        text = self._payloads.get(job_id, "") if payload is None else payload
        return {"job_id": job_id, "claim_id": claim_id, "attempt": attempt, "value": _encoded(text)}

    def _write(self, worker: str, kind: EventType, f: str, **fields: str | int | None) -> None:
        self._now_ns += STEP_NS
        place = {"index": len(self.events), "time_ns": self._now_ns, "run": self._run}
        self.events.append(
            msgspec.convert({**place, **_in_lane(worker), "type": kind, "f": f, **fields}, Event)
        )


def _in_lane(worker: str) -> _Fields:
    return {"worker": _name(worker), "lane": int(worker.partition("+")[2] or 0)}


def _name(worker: str) -> str:
    return worker.partition("+")[0]


def _named(job: str) -> tuple[str, int | None]:
    job_id, separator, attempt = job.rpartition("#")
    return (job_id, int(attempt)) if separator else (job, None)


def _encoded(payload: str) -> str:
    return base64.b64encode(payload.encode()).decode()

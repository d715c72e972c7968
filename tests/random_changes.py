"""What would a history look like of a queue that is not correct? One thing in a run is changed."""

from random import Random
from typing import Any

from random_runs import TTL, Mark
from ssq_verify.history import EventType


def changed(random: Random, marks: list[Mark]) -> list[Mark]:
    """Return the run with one thing changed, so that the queue may have broken its contract."""
    marks = list(marks)
    calls = [place for place, mark in enumerate(marks) if mark[3] is EventType.INVOKE]
    ends = {place: _end(marks, place) for place in calls}
    ended = [place for place in calls if ends[place] is not None and marks[ends[place]][4] != "crash"]
    if not ended:
        return marks
    place = random.choice(ended)
    end = ends[place]
    change = random.choice((_other_answer, _other_field, _without, _again, _moved))
    after = sorted(change(random, list(marks), place, end), key=lambda mark: mark[:2])
    return after if _claims_come_first(after) else marks


def _claims_come_first(marks: list[Mark]) -> bool:
    """Whether no claim id is used before the claim that gave it out was called: no run does that."""
    called: dict[str, int] = {}
    given: dict[str, int] = {}
    used: dict[str, int] = {}
    for time, _, worker, kind, f, fields in marks:
        if f == "claim" and kind is EventType.INVOKE:
            called[worker] = time
        elif f == "claim" and "claim_id" in fields:
            given.setdefault(fields["claim_id"], called[worker])
        elif "claim_id" in fields:
            used.setdefault(fields["claim_id"], time)
    return all(given.get(claim_id, time) <= time for claim_id, time in used.items())


def _end(marks: list[Mark], place: int) -> int | None:
    worker = marks[place][2]
    after = (later for later in range(place + 1, len(marks)) if marks[later][2] == worker)
    return next(after, None)


def _other_answer(random: Random, marks: list[Mark], place: int, end: int) -> list[Mark]:
    time, order, worker, kind, f, fields = marks[end]
    if f == "claim":
        return _other_field(random, marks, place, end)
    kind = random.choice([other for other in (EventType.OK, EventType.FAIL) if other is not kind])
    marks[end] = (time, order, worker, kind, f, fields)
    return marks


def _other_field(random: Random, marks: list[Mark], place: int, end: int) -> list[Mark]:
    time, order, worker, kind, f, fields = marks[end]
    if kind is not EventType.OK or not fields:
        return _again(random, marks, place, end)
    key = random.choice(sorted(fields))
    other: Any = {
        "job_id": random.choice(("j1", "j2", "j3")),
        "claim_id": f"c{random.randint(1, 5)}",
        "attempt": (fields.get("attempt") or 1) + random.choice((-1, 1, 2)),
        "value": "Yg==" if fields.get("value") == "YQ==" else "YQ==",
    }[key]
    marks[end] = (time, order, worker, kind, f, {**fields, key: other})
    if f != "claim":
        time, order, worker, kind, f, asked = marks[place]
        marks[place] = (time, order, worker, kind, f, {**asked, key: other})
    return marks


def _without(_random: Random, marks: list[Mark], place: int, end: int) -> list[Mark]:
    return [mark for index, mark in enumerate(marks) if index not in (place, end)]


def _again(random: Random, marks: list[Mark], place: int, end: int) -> list[Mark]:
    later = random.randint(0, 2 * TTL)
    for mark in (marks[place], marks[end]):
        fields = mark[5]
        if mark[4] == "claim" and fields:
            fields = {**fields, "claim_id": "c99", "attempt": fields["attempt"] + random.choice((0, 1))}
        marks.append((mark[0] + later, len(marks), "w9", mark[3], mark[4], fields))
    return marks


def _moved(random: Random, marks: list[Mark], place: int, end: int) -> list[Mark]:
    by = random.choice((-12, -6, -3, -1, 1, 3, 6, 12))
    for index in (place, end):
        time, order, _, kind, f, fields = marks[index]
        marks[index] = (max(0, time + by), order, "w9", kind, f, fields)
    return marks

"""The exact check: each rule of the model has a smallest history that it rejects and one that it accepts."""

import ast
import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, FunctionType

import msgspec
import pytest

from ssq_verify import linearize, model
from ssq_verify.history import EventType, History, Terms
from ssq_verify.notation import h, items
from ssq_verify.verdict import Finding

RESTING = Terms(backoff_base_seconds=10.0)
LOOSE_CLOCKS = Terms(backoff_base_seconds=10.0, max_clock_skew_seconds=2.0)
STRICT_LATE_ACK = Terms(late_ack="rejected", max_clock_skew_seconds=2.0)
LAST = "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#2; w1 release j1#2; w1 claim j1#3"
"""j1 at its last attempt, held by w1."""
OVERTAKEN = "w1 enqueue j1; w1 claim j1#1; w2 extend j1#1 <; +40s; w1 extend j1#1; w2 >"
"""j1 extended at 40 s, and by a slow call that began at 0 s and may have taken effect later."""
RESTED = "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +10s; w1 claim j1#2; w1 release j1#2"
"""j1 released twice, after a back-off of 10 s; the next one is 20 s."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Histories that only differ in whether they keep the rule."""

    accepted: tuple[str, ...]
    rejected: tuple[str, ...]
    terms: Terms = field(default_factory=Terms)


RULES = {
    "only what was enqueued is claimed": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1", "w1 enqueue j1 ?; w1 claim j1#1"),
        rejected=("w1 claim j1#1", "w1 claim j1#1; w1 enqueue j1"),
    ),
    "an acked job is gone until it is enqueued again": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1; w2 claim j1#1",),
        rejected=("w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; +99s; w2 claim j1#2",),
    ),
    "an enqueue of a live job changes nothing": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; w1 enqueue j1; +61s; w2 claim j1#2",),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w1 enqueue j1; w2 claim j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 enqueue j1; w2 claim j1#2",
            "w1 enqueue j1 =a; w1 enqueue j1 =b; w2 claim j1#1 =b",
            f"{LAST}; w1 release j1#3; w1 enqueue j1; w1 claim j1#1",
        ),
    ),
    "a queue that keeps no dead letters may take a dead job anew": Rule(
        accepted=(f"{LAST}; w1 release j1#3; w1 enqueue j1 =b; w1 claim j1#1 =b",),
        rejected=(f"{LAST}; w1 enqueue j1; w1 claim j1#1", f"{LAST}; w1 release j1#3; w1 claim j1#1"),
        terms=Terms(dead_letters=False),
    ),
    "a lease lasts until ttl after the call of the claim": Rule(
        # The claim is called at 3 us; the last call of the first history returns 1 us after the lease's end.
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +59999998us; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; w2 claim <; +61s; w2 > j1#2",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; +59999997us; w2 claim j1#2",
            "w1 enqueue j1; w1 claim <; w2 claim <; w1 > j1#1; w2 > j1#2",
            "w1 enqueue j1; w1 claim j1#1; w1 dies; w2 claim j1#2",
        ),
    ),
    "an extend moves the end to ttl after its call": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; +40s; w1 extend j1#1; +61s; w2 claim j1#2",),
        rejected=("w1 enqueue j1; w1 claim j1#1; +40s; w1 extend j1#1; +40s; w2 claim j1#2",),
    ),
    "no extend moves the end back": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w2 extend j1#1 <; +40s; w1 extend j1#1; w2 >; +61s; w2 claim j1#2",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w2 extend j1#1 <; +40s; w1 extend j1#1; w2 >; +40s; w2 claim j1#2",
        ),
    ),
    "an attempt is counted when it is claimed": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#2",
            "w1 enqueue j1; w1 claim j1",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#1",
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 claim j1#1",
            "w1 enqueue j1; w1 claim j1; w1 release j1; w1 claim j1#1",
        ),
    ),
    "no incarnation is claimed more often than the bound": Rule(
        accepted=(LAST,),
        rejected=(
            f"{LAST}; w1 release j1#3; w1 claim j1#4",
            f"{LAST}; +61s; w1 claim j1#4",
            f"{LAST}; +61s; w1 claim j1",
        ),
    ),
    "without a bound, attempts are neither bounded nor counted": Rule(
        terms=Terms(max_attempts=None, backoff_base_seconds=1.0),
        accepted=(
            "w1 enqueue j1; w1 claim j1#7; +61s; w1 claim j1#7; w1 release j1#7; +31s; w1 claim j1#1",
            "w1 enqueue j1; w1 claim j1; +61s; w1 claim j1; +61s; dead j1; w1 requeue j1; w1 claim j1",
            "w1 enqueue j1; w1 claim j1; w1 release j1; dead j1",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#7; w1 claim j1#8",
            "w1 enqueue j1; w1 claim j1#5; w1 release j1#5; +15s; w1 claim j1#6",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; dead j1",
            "w1 enqueue j1; dead j1",
            "w1 enqueue j1; w1 claim j1; dead j1",
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 ack j1#1 !lost",
        ),
    ),
    "a claim brings the payload that was enqueued": Rule(
        accepted=("w1 enqueue j1 =a; w1 claim j1#1 =a; w1 release j1#1; w1 claim j1#2 =a",),
        rejected=(
            "w1 enqueue j1 =a; w1 claim j1#1 =b",
            "w1 enqueue j1 =a; w1 claim j1#1 =",
            "w1 enqueue j1; w1 claim j1#1 =a",
            "w1 enqueue j1 =a; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1 =b; w1 claim j1#1 =a",
        ),
    ),
    "a queue without payloads is not held to them": Rule(
        terms=Terms(payload=False),
        accepted=("w1 enqueue j1 =a; w1 claim j1#1 =b",),
        rejected=("w1 claim j1#1 =b",),
    ),
    "only the current claim acks": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1 !lost; w2 ack j1#2",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim <; w1 ack j1#1 !lost; w2 > j1#2",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim <; w1 ack j1#1; w2 > -",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 <; w2 ack j1#1; w1 > !lost",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 <; w2 ack j1#1 <; w1 >; w2 >",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim <; w1 ack j1#1; w2 > j1#2",
        ),
    ),
    "only the current claim releases": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 release j1#1 !lost; w2 release j1#2",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 release j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 release j1#1",
        ),
    ),
    "only the current claim extends": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 extend j1#1 !lost; w2 extend j1#2",),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 extend j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 extend j1#1",
        ),
    ),
    "a current claim is not refused": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; +61s; w1 release j1#1; w1 claim j1#2",),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost",
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 ack j1#1 !lost",
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 release j1#1 !lost",
            "w1 enqueue j1; w1 claim j1#1; +61s; w1 extend j1#1 !lost",
        ),
    ),
    "a late ack is refused where that is promised": Rule(
        # Clocks may be apart by 2 s, so that a holder may see its lease end 2 s early, and a queue 4 s late.
        terms=STRICT_LATE_ACK,
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +63s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +63s; w1 extend j1#1; +63s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +59s; w1 ack j1#1 !lost",
            f"{LAST}; +59s; w1 ack j1#3 !lost",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; +65s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +63s; w1 extend j1#1; +65s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +57s; w1 ack j1#1 !lost",
        ),
    ),
    "a late ack may be either where either is promised": Rule(
        terms=Terms(late_ack="either"),
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +99s; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; +99s; w1 ack j1#1 !lost; w1 claim j1#2",
        ),
        rejected=("w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost",),
    ),
    "a repeated ack returns ok only where that is promised": Rule(
        terms=Terms(repeat_ack="accepted"),
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 ack j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1; w1 ack j1#1; w2 claim j1#1",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 release j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 ack j1#1",
        ),
    ),
    "a released job rests": Rule(
        terms=RESTING,
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +10s; w1 claim j1#2",
            f"{RESTED}; +20s; w1 claim j1#3",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +9s; w1 claim j1#2",
            f"{RESTED}; +19s; w1 claim j1#3",
        ),
    ),
    "a rest is by clocks that may be apart": Rule(
        terms=LOOSE_CLOCKS,
        accepted=("w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +8s; w1 claim j1#2",),
        rejected=("w1 enqueue j1; w1 claim j1#1; w1 release j1#1; +7s; w1 claim j1#2",),
    ),
    "a queue without back-off is not held to it": Rule(
        terms=Terms(backoff_base_seconds=10.0, back_off=False),
        accepted=("w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#2",),
        rejected=("w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#1",),
    ),
    "a job dies at its last attempt, not before": Rule(
        accepted=(
            f"{LAST}; w1 release j1#3; dead j1; w1 requeue j1; w1 claim j1#1",
            f"{LAST}; +61s; dead j1; w1 requeue j1; w1 claim j1#1",
            f"{LAST}; +61s; w1 ack j1#3 !lost; dead j1",
            f"{LAST}; +61s; w1 ack j1#3",
        ),
        rejected=(
            "w1 enqueue j1; dead j1",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; dead j1",
            "w1 enqueue j1; w1 claim j1#1; +61s; dead j1",
            f"{LAST}; dead j1",
            f"{LAST}; w1 requeue j1",
            f"{LAST}; w1 ack j1#3 !lost",
            f"{LAST}; +61s; w1 ack j1#3 !lost; w1 ack j1#3",
            f"{LAST}; +61s; dead j1; w1 ack j1#3",
            "w1 enqueue j1; w1 requeue j1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; dead j1",
        ),
    ),
    "a dead job can be given a new incarnation": Rule(
        accepted=("w1 enqueue j1; w1 requeue j1 !lost", f"{LAST}; +61s; w1 requeue j1 !lost"),
        rejected=(
            f"{LAST}; w1 release j1#3; w1 requeue j1 !lost",
            f"{LAST}; w1 release j1#3; w1 requeue j1; w1 claim j1#4",
        ),
    ),
    "what may have happened excuses, once": Rule(
        accepted=(
            "w1 enqueue j1; w1 claim dies; +61s; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim ?; w1 ack j1#1 !lost",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 ?; w2 enqueue j1; w2 claim j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 ?; +61s; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1 dies; w2 claim j1#2",
            "w1 enqueue j1; w1 claim dies; w2 claim j1#1",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim dies; w2 claim j1#2",
            "w1 enqueue j1; w1 claim dies; +61s; w2 claim j1#3",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost; w2 claim ?",
            "w1 enqueue j1; w1 claim j1#1; w1 extend j1#1 ?; w2 claim j1#2",
        ),
    ),
    "without fencing, stale calls are not judged, current ones are": Rule(
        terms=Terms(fencing=False),
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1; w2 ack j1#2",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1; w1 enqueue j1; w2 claim j1#1",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 ack j1#1; w1 release j1#1",
            "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 release j1#1; w2 claim j1#3",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 extend j1#1; w2 claim j1#2",
            f"{LAST}; +61s; w1 extend j1#3; dead j1",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; w2 claim <; +40s; w1 extend j1#1; +30s; w2 > j1#2",
            f"{LAST}; w1 extend j1#3; dead j1",
            f"{LAST}; +40s; w1 extend j1#3; +30s; dead j1",
            f"{LAST}; w1 extend j1#3; +61s; dead j1; w1 ack j1#3 !lost; w1 claim j1#4",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost",
            "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w2 claim j1#2",
        ),
    ),
    "without leases nothing is taken over from the living": Rule(
        terms=Terms(lease=False),
        accepted=(
            "w1 enqueue j1; w1 claim j1#1; w1 dies; w2 claim j1#2",
            "w1 enqueue j1; w1 claim dies; w2 claim j1#2",
        ),
        rejected=(
            "w1 enqueue j1; w1 claim j1#1; +999s; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; w2 dies; w2 claim j1#2",
            "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w2 claim j1#2; w1 dies; w3 claim j1#3",
        ),
    ),
    "beyond the skew bound time drops out, and the rest stays": Rule(
        terms=STRICT_LATE_ACK,
        accepted=(
            "w1 clock +3s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#2; w1 ack j1#1 !lost",
            "w1 clock -1s; w2 clock +2s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#2",
            "w1 clock +3s; w1 enqueue j1; w1 claim j1#1; +999s; w1 ack j1#1",
            "w1 clock +3s; w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost",
        ),
        rejected=(
            "w1 clock +2s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#2",
            "w1 clock +3s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#2; w1 ack j1#1",
            "w1 clock +3s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#1",
        ),
    ),
    "a queue whose server keeps the time has no skew bound": Rule(
        terms=Terms(max_clock_skew_seconds=None),
        accepted=("w1 clock +3s; w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2",),
        rejected=("w1 clock +3s; w1 enqueue j1; w1 claim j1#1; w2 claim j1#2",),
    ),
    "what a loss of power undoes is left to durable": Rule(
        accepted=("w1 enqueue j1; w1 claim j1#1; power-loss; w2 claim j1#1; w2 claim j1#9",),
        rejected=("w1 enqueue j1; w1 claim j1#1; w2 claim j1#2; power-loss",),
    ),
    "runs and jobs are judged by themselves": Rule(
        accepted=(
            "w1 enqueue j1; w1 enqueue j2; w1 claim j1#1; w1 claim j2#1",
            "w1 enqueue j1; w1 claim j1#1; next run; w1 enqueue j1; w1 claim j1#1",
        ),
        rejected=("w1 enqueue j1; w1 claim j1#1; next run; w1 claim j1#2", "w1 enqueue j1; w1 claim j2#1"),
    ),
}
ACCEPTED = [(name, line) for name, rule in RULES.items() for line in rule.accepted]
REJECTED = [(name, line) for name, rule in RULES.items() for line in rule.rejected]


@cache
def history(name: str, line: str) -> History:
    """Return the history of a line of the table, under its rule's terms."""
    return h(*items(line), terms=RULES[name].terms)


@pytest.mark.parametrize(("name", "line"), ACCEPTED)
def test_a_history_that_keeps_the_rule_is_accepted(name, line):
    """A smallest history that keeps a rule has an order that the contract accepts."""
    assert linearize.check(history(name, line)).verdict is Finding.HOLDS


@pytest.mark.parametrize(("name", "line"), REJECTED)
def test_a_history_that_breaks_the_rule_is_rejected(name, line):
    """A smallest history that breaks a rule has no order that the contract accepts."""
    verdict = linearize.check(history(name, line))

    assert verdict.verdict is Finding.VIOLATED
    assert verdict.violation is not None
    assert verdict.violation.sentence == verdict.sentence


def mutants() -> Iterator[tuple[str, str, CodeType]]:
    """Yield the model with one rule switched off: where, how, and that function's new code."""
    source = inspect.getsource(model)
    for position, node in enumerate(ast.walk(ast.parse(source))):
        for how, change in (("never refuse", _never_refuse), ("no 'not before'", _no_not_before)):
            if change(copy.deepcopy(node)):
                tree = ast.parse(source)
                changed = list(ast.walk(tree))[position]
                change(changed)
                function = _around(tree, changed)
                module = compile(ast.fix_missing_locations(tree), model.__file__, "exec")
                yield f"line {node.lineno}: {how}", function, _code(module, function)


def _never_refuse(node: ast.AST) -> bool:
    """`if …: return None` no longer returns; `… if … else None` always has a value."""
    if isinstance(node, ast.If) and ast.unparse(node.body[-1]) == "return None" and not node.orelse:
        node.test = ast.Constant(value=False)
        return True
    if isinstance(node, ast.IfExp) and "None" in {ast.unparse(node.body), ast.unparse(node.orelse)}:
        node.test = ast.Constant(value=ast.unparse(node.body) != "None")
        return True
    return False


def _no_not_before(node: ast.AST) -> bool:
    """`max(a, b)` is a."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "max":
        node.args = node.args[:1] * 2
        return True
    return False


def _around(tree: ast.Module, node: ast.AST) -> str:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and node in ast.walk(function):
            return function.name
    raise AssertionError(ast.unparse(node))


def _code(module: CodeType, name: str) -> CodeType:
    return next(code for code in module.co_consts if isinstance(code, CodeType) and code.co_name == name)


MUTANTS = list(mutants())


@pytest.mark.parametrize(("where", "function", "code"), MUTANTS, ids=[where for where, _, _ in MUTANTS])
def test_every_rule_of_the_model_is_needed(where, function, code, monkeypatch):
    """Switch off one rule of the model, and some smallest history is judged wrongly."""
    changed: FunctionType = getattr(model, function)
    monkeypatch.setattr(changed, "__code__", code)

    wrong = [line for name, line in ACCEPTED if not _holds(name, line)]
    wrong += [line for name, line in REJECTED if _holds(name, line) is not False]

    assert wrong, f"{function}, {where}: no history of the table needs it"


def test_most_of_the_model_is_switched_off_in_turn():
    """The mutants are found by reading the model's source; that they are many shows that it was read."""
    assert len(MUTANTS) >= 15


def _holds(name: str, line: str) -> bool | None:
    try:
        return linearize.check(history(name, line)).verdict is Finding.HOLDS
    except (AttributeError, TypeError):
        return (
            None  # The rule that was switched off had kept the next line from a state that it can't handle.
        )


def test_the_instant_never_goes_back():
    """An operation that overlaps the next one's call pushes what follows it to its own earliest instant."""
    line = "w1 enqueue j1 <; w2 claim <; +61s; w1 >; w2 > j1#1; w3 claim j1#2"

    assert linearize.check(h(*items(line))).verdict is Finding.HOLDS
    assert model.JobState().instant_ns == 0
    late = model.JobState(model.Phase.QUEUED, 90)
    claim = msgspec.structs.replace(h("w1 enqueue j1", "w1 claim j1").operations[1], inv_ns=50, ret_ns=80)
    assert model.step(late, claim, model.contract(Terms())) is None


def test_equal_times_order_nothing():
    """An operation that returns at the instant at which another is called is concurrent with it."""
    both = h("w1 enqueue j1", "w1 claim j1#1", "w2 ack j1#1 !lost", "w1 ack j1#1")
    tick = tuple(
        msgspec.structs.replace(event, time_ns=9_000 if event.f == "ack" else event.time_ns)
        for event in both.events
    )

    assert linearize.check(both).verdict is Finding.VIOLATED
    assert linearize.check(msgspec.structs.replace(both, events=tick)).verdict is Finding.HOLDS


def test_a_claim_is_used_after_it_was_made():
    """Where an ack is called at the very instant at which its claim returns, the claim still comes first."""
    line = "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1 !lost"
    given = h(*items(line))
    tick = tuple(msgspec.structs.replace(event, time_ns=min(event.time_ns, 4_000)) for event in given.events)

    assert linearize.check(msgspec.structs.replace(given, events=tick)).verdict is Finding.VIOLATED


def test_a_claim_id_names_one_claim_ever():
    """Two claims under one id are a violation, however far apart; without fencing they are not."""
    line = "w1 enqueue j1; w1 claim j1#1; w1 release j1#1; w1 claim j1#2; w1 release j1#2; w1 claim j1#3"
    given = h(*items(line))
    events = tuple(
        msgspec.structs.replace(event, claim_id="c1" if event.claim_id == "c3" else event.claim_id)
        for event in given.events
    )
    again = msgspec.structs.replace(given, events=events)
    unfenced = msgspec.structs.replace(
        again, header=msgspec.structs.replace(again.header, terms=Terms(fencing=False))
    )

    verdict = linearize.check(again)

    assert verdict.verdict is Finding.VIOLATED
    assert "claim id c1 of job j1 was given to w1 at 0.000003 s and to w1 at" in verdict.sentence
    assert verdict.violation is not None
    assert [event.f for event in verdict.violation.witness] == ["claim"] * 4
    assert linearize.check(unfenced).verdict is Finding.HOLDS


def test_claims_without_ids_are_told_apart_by_what_is_reported():
    """Where the log has no claim ids, the attempt stands for the claim, else the worker does."""

    def without_ids(line: str) -> History:
        given = h(*items(line))
        events = tuple(msgspec.structs.replace(event, claim_id=None) for event in given.events)
        return msgspec.structs.replace(given, events=events)

    stale = "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1"
    uncounted = "w1 enqueue j1; w1 claim j1; +61s; w2 claim j1; {} ack j1"

    assert linearize.check(without_ids(stale)).verdict is Finding.VIOLATED
    assert linearize.check(without_ids(f"{stale} !lost; w2 ack j1#2")).verdict is Finding.HOLDS
    assert linearize.check(without_ids(uncounted.format("w1"))).verdict is Finding.VIOLATED
    assert linearize.check(without_ids(uncounted.format("w2"))).verdict is Finding.HOLDS


def test_the_sentence_says_what_fits_nowhere_and_how_the_job_stood():
    """A violation is told in a sentence of plain words."""
    line = "w1 enqueue j1; w1 claim j1#1; +61s; w2 claim j1#2; w1 ack j1#1; w2 ack j1#2 !lost"

    verdict = linearize.check(h(*items(line)))

    assert verdict.sentence == (
        "no order of job j1's 4 operations fits the contract: w1's ack of c1 (attempt 1) returned ok at "
        "61.000007 s, but then it was held by claim c2, attempt 2 of 3, its lease not ending before "
        "121.000004 s"
    )


def test_the_witness_is_the_shortest_beginning_of_the_last_incarnation():
    """What came after the first impossible return, and incarnations that were over, are left out."""
    before = "w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; w1 enqueue j1; w1 claim j1#1; w1 ack j1#1; +1s"
    broken = "w2 enqueue j1; w2 claim j1#1; w3 claim j1#2"
    after = "w3 ack j1#2; w3 enqueue j1; w3 claim j1#1; w3 ack j1#1"

    (violation,) = linearize.violations(h(*items(f"{before}; {broken}; {after}")))

    assert [(event.worker, event.f, event.type) for event in violation.witness] == [
        ("w2", "enqueue", EventType.INVOKE),
        ("w2", "enqueue", EventType.OK),
        ("w2", "claim", EventType.INVOKE),
        ("w2", "claim", EventType.OK),
        ("w3", "claim", EventType.INVOKE),
        ("w3", "claim", EventType.OK),
    ]


def test_an_operation_that_was_still_open_shows_its_call_alone():
    """What had not returned when the impossible happened is part of the witness, but its return is not."""
    line = "w1 enqueue j1; w1 claim j1#1; w3 extend j1#1 <; w2 claim j1#2; +9s; w3 >"

    (violation,) = linearize.violations(h(*items(line)))

    assert [event.type for event in violation.witness if event.f == "extend"] == [EventType.INVOKE]


@pytest.mark.scenario("invariants/the-exact-check-reaches-its-limit")
def test_at_the_limit_the_verdict_is_unknown_and_names_it():
    """A search that runs out of steps says so, with the job; it never says that the contract holds."""
    calls = [f"w{number} enqueue j1 <" for number in range(9)]
    returns = [f"w{number} >" for number in range(9)]
    hard = h(*calls, *returns, "w1 claim j1#2")

    verdict = linearize.check(hard, budget=100)

    assert verdict.verdict is Finding.UNKNOWN
    assert "100 steps" in verdict.sentence
    assert "job j1 of run 0, 10 operations" in verdict.sentence
    assert linearize.violations(hard, budget=100) == ()
    assert linearize.check(hard).verdict is Finding.VIOLATED


def test_a_violation_found_counts_more_than_a_limit_reached():
    """One job beyond the limit does not hide another's violation."""
    calls = [f"w{number} enqueue j1 <" for number in range(9)]
    returns = [f"w{number} >" for number in range(9)]

    verdict = linearize.check(h(*calls, *returns, "w1 claim j1#2", "w1 claim j2#1"), budget=100)

    assert verdict.verdict is Finding.VIOLATED
    assert verdict.violation is not None
    assert verdict.violation.job_id == "j2"


def test_no_operation_is_vacuous():
    """A history without an operation on any job shows nothing."""
    assert linearize.check(h()).verdict is Finding.VACUOUS
    assert linearize.check(h("w1 claim -")).verdict is Finding.VACUOUS


def test_what_was_left_to_durable_is_said():
    """The verdict counts the operations that no piece holds because a loss of power came before."""
    verdict = linearize.check(h("w1 enqueue j1", "power-loss", "w2 claim j1#1"))

    assert verdict.sentence.endswith("; 1 operations after a loss of power are left to durable")


def test_a_long_job_is_searched_without_recursion():
    """A job of ten thousand operations, one after the other, is no deeper than one of ten."""
    life = ("w1 enqueue j1", "w1 claim j1#1", "w1 ack j1#1")

    assert linearize.check(h(*life * 3_400)).verdict is Finding.HOLDS

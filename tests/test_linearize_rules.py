"""Does the exact check know each rule of the contract, and is each line of the model needed for one?"""

import ast
import copy
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType

import pytest

from contract_rules import ACCEPTED, REJECTED, history
from ssq_verify import linearize, model
from ssq_verify.verdict import Finding


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

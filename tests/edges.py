"""What do the suites of the invariants' edges begin with? A line, a query, and whether it rejects it."""

from ssq_verify.history import Terms
from ssq_verify.invariants import violations
from ssq_verify.notation import h, items


def is_broken(name, line, **terms):
    """Whether the query rejects the history."""
    return bool(violations(h(*items(line), terms=Terms(**terms)), name))


HELD = "w1 enqueue j1; w1 claim j1#1; "

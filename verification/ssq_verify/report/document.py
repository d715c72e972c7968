"""What a program is told: the same verdicts, as values that JSON can carry."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ssq_verify.verdict import Verdict


def verdict_documents(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return one object for each verdict: invariant, verdict, sentence, needs, witness, repro."""
    return [
        {
            "invariant": verdict.invariant,
            "verdict": verdict.verdict.value,
            "sentence": verdict.sentence,
            "needs": verdict.needs,
            "witness": None if verdict.violation is None else msgspec.to_builtins(verdict.violation.witness),
            "repro": verdict.repro,
        }
        for verdict in verdicts
    ]

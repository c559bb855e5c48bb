r"""Share of final answers that equal the reference's (0 to 1), by the published rules for GSM8K.

    gsm8k_exact_match = examples whose extracted answer equals that of any reference / examples

- strict: lm-evaluation-harness, `strict-match`. The answer is the first `#### N` (regular expression MARKED), none is
  "[invalid]". Out of it and out of the whole reference are then removed, in this order: commas, dollar signs,
  everything up to the last `#### `, one period at the end; then case. What is left must be equal.
- flexible: the same, with the last number-like piece (FLEXIBLE) as the answer.
- openai: `is_correct` of grade-school-math. The first `#### N` of both without its commas, so 5.0 is not 5 and `5.` is
  not 5.

A completion without an answer is wrong, not left out. No rule is added: the sign stays, numbers are compared as text.

Sources: EleutherAI/lm-evaluation-harness 4e7e0d4, lm_eval/tasks/gsm8k/gsm8k.yaml lines 14-40, RegexFilter.apply in
lm_eval/filters/extraction.py, exact_match_hf_evaluate in lm_eval/api/metrics.py; openai/grade-school-math 3101c7d,
grade_school_math/dataset.py lines 24-40. Compared with both in tests/metrics/test_gsm8k_exact_match.py.
"""
# N examples

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from tunelab.contracts import Metric
from tunelab.errors import CannotScore
from tunelab.records import Prediction

MARKED = re.compile(r"#### (\-?[0-9\.\,]+)")
FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
IGNORED = (re.compile(","), re.compile(r"\$"), re.compile(r"(?s).*#### "), re.compile(r"\.$"))
INVALID = "[invalid]"


@final
class Gsm8kExactMatch(Metric):
    bounds = (0.0, 1.0)
    variants: ClassVar[dict[str, str]] = {
        "": "strict",
        "strict": "lm-evaluation-harness's strict-match: the number after ####",
        "flexible": "lm-evaluation-harness's flexible-extract: the last number",
        "openai": "is_correct of openai/grade-school-math",
    }

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: 1 where the answer is right, 1.

        Raises:
            CannotScore: `openai`, and no reference of an example has `#### N`.
        """
        is_right = _is_right_by_openai if self.variant == "openai" else _is_right_by_harness
        rows = []
        for prediction in predictions:
            text = prediction.prediction
            assert text is not None, f"example {prediction.id}: gsm8k_exact_match needs generated text"
            assert prediction.references, f"example {prediction.id}: gsm8k_exact_match needs a reference"
            rows.append((is_right(text, prediction, flexible=self.variant == "flexible"), 1.0))
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        rule = {"openai": "openai-grade-school-math", "flexible": "lm-eval-flexible-extract"}
        return f"nrefs:any|rule:{rule.get(self.variant, 'lm-eval-strict-match')}"


def _is_right_by_harness(text: str, prediction: Prediction, *, flexible: bool) -> bool:
    answer = _last_number(text) if flexible else _marked(text)
    return _cleaned(answer) in map(_cleaned, prediction.references)


def _is_right_by_openai(text: str, prediction: Prediction, *, flexible: bool) -> bool:
    expected = {_marked(reference).replace(",", "") for reference in prediction.references} - {INVALID}
    if not expected:
        raise CannotScore(f"example {prediction.id}: gsm8k_exact_match:openai needs '#### N' in a reference")
    return _marked(text).replace(",", "") in expected


def _marked(text: str) -> str:
    found = MARKED.search(text)
    return found[1] if found else INVALID


def _last_number(text: str) -> str:
    found = FLEXIBLE.findall(text)
    return found[-1][0] or found[-1][1] if found else INVALID


def _cleaned(text: str) -> str:
    for pattern in IGNORED:
        text = pattern.sub("", text)
    return text.lower()

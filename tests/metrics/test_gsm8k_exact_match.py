"""Expected values were made with the two published implementations: RegexFilter and exact_match_hf_evaluate of
lm-evaluation-harness 4e7e0d4 with the settings of its gsm8k.yaml, and is_correct of openai/grade-school-math 3101c7d.
60,000 random completions gave no difference either."""

import pytest

from tunelab.errors import CannotScore
from tunelab.metrics.gsm8k_exact_match import Gsm8kExactMatch
from tunelab.records import Prediction

REFERENCE = "She has 40 + 32 = <<40+32=72>>72 clips.\n#### 72"

CASES = [
    # completion, reference, strict, flexible, openai
    ("so 72\n#### 72", REFERENCE, 1, 1, 1),
    ("#### 72.", REFERENCE, 1, 1, 0),
    ("#### 72.0", REFERENCE, 0, 0, 0),
    ("#### $72", REFERENCE, 0, 1, 0),
    ("#### 72 dollars", REFERENCE, 1, 1, 1),
    ("#### 72\n#### 73", REFERENCE, 1, 0, 1),
    ("#### 73\n#### 72", REFERENCE, 0, 1, 0),
    ("####72", REFERENCE, 0, 1, 0),
    ("####  72", REFERENCE, 0, 1, 0),
    ("The answer is 72", REFERENCE, 0, 1, 0),
    ("The answer is 72. Next: 3", REFERENCE, 0, 0, 0),
    ("The answer is $72.", REFERENCE, 0, 1, 0),
    ("The answer is 72...", REFERENCE, 0, 0, 0),
    ("#### -72", REFERENCE, 0, 0, 0),
    ("", REFERENCE, 0, 0, 0),
    ("no number", REFERENCE, 0, 0, 0),
    ("[invalid]", "#### [invalid]", 1, 1, None),
    ("#### -5", "#### -5", 1, 1, 1),
    ("#### --5", "#### -5", 0, 1, 0),
    ("#### 1,000", "#### 1000", 1, 1, 1),
    ("#### 1000", "#### 1,000", 1, 1, 1),
    ("#### 1,0,0,0,", "#### 1000", 1, 1, 1),
    ("#### 5.", "#### 5.", 1, 1, 1),
    ("#### 05", "#### 5", 0, 0, 0),
    ("#### 72", "72", 1, 1, None),
    ("#### 72", "$72.", 1, 1, None),
    ("#### 72", "#### 72\n", 0, 0, 1),
    ("#### 72", "#### 1\n#### 72", 1, 1, 0),
    ("#### ٧٢", REFERENCE, 0, 0, 0),
]


def is_right(variant, completion, *references):
    row = Prediction(id="7", prompt="", prediction=completion, references=references)
    return Gsm8kExactMatch(variant).statistics([row]).tolist()


@pytest.mark.parametrize(("completion", "reference", "strict", "flexible", "openai"), CASES)
def test_agrees_with_the_published_rules(completion, reference, strict, flexible, openai):
    assert is_right("strict", completion, reference) == [[strict, 1]] == is_right("", completion, reference)
    assert is_right("flexible", completion, reference) == [[flexible, 1]]
    if openai is not None:
        assert is_right("openai", completion, reference) == [[openai, 1]]


@pytest.mark.parametrize("reference", [case[1] for case in CASES if case[4] is None])
def test_openai_refuses_a_reference_without_a_marked_answer(reference):
    with pytest.raises(CannotScore, match="example 7: .*'#### N'"):
        is_right("openai", "#### 72", reference)


@pytest.mark.parametrize("variant", ["strict", "flexible", "openai"])
def test_any_reference_counts(variant):
    assert is_right(variant, "#### 72", "#### 71", "#### 72") == [[1, 1]]


def test_every_reference_of_the_test_set_is_its_own_right_answer(shared):
    import json

    lines = (shared / "data" / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    rows = [Prediction(id=str(i), prompt="", prediction=text, references=(text,)) for i, text in enumerate(answers)]
    for variant in ("strict", "openai"):
        metric = Gsm8kExactMatch(variant)
        assert metric.aggregate(metric.statistics(rows).sum(axis=0)) == 1.0


def test_variants_sign_differently_and_the_default_is_strict():
    signatures = {variant: Gsm8kExactMatch(variant).signature() for variant in Gsm8kExactMatch.variants}
    assert signatures[""] == signatures["strict"] and len(set(signatures.values())) == 3

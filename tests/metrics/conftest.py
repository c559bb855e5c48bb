import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import sacrebleu.metrics.bleu

from tunelab.evaluation import sacre
from tunelab.evaluation.java import METEOR, TOKENISER
from tunelab.metrics import bertscore
from tunelab.records import Prediction


@pytest.fixture(scope="session")
def java() -> None:
    """Java and the extra `meteor`. Where they are missing the test is skipped; with TUNELAB_REQUIRE_ALL=1 it fails."""
    reason = TOKENISER.missing() or METEOR.missing()
    if reason and os.environ.get("TUNELAB_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def official_example(shared: Path) -> Callable[[str], list[Prediction]]:
    """Reads the E2E challenge script's own example inputs: outputs one a line, references in groups of lines."""

    def read(outputs: str) -> list[Prediction]:
        folder = shared / "data" / "e2e_official_example"
        texts = (folder / outputs).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        groups = (folder / "example_devel-conc.txt").read_text(encoding="utf-8").strip().split("\n\n")
        return [
            Prediction(id=str(row), prompt="", prediction=text, references=tuple(group.split("\n")))
            for row, (text, group) in enumerate(zip(texts, groups, strict=True))
        ]

    return read


@pytest.fixture
def letters_for_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of sacrebleu's tokenisers that need packages or a model: a letter a word."""

    class Letters:
        def __call__(self, line: str) -> str:
            return " ".join(line)

        def signature(self) -> str:
            return "letters"

    made = sacrebleu.metrics.bleu._get_tokenizer
    monkeypatch.setattr(sacre, "lacking", lambda tokenizer: "")
    monkeypatch.setattr("tunelab.metrics.bleu.lacking", lambda tokenizer: "")
    monkeypatch.setattr(
        sacrebleu.metrics.bleu, "_get_tokenizer", lambda name: Letters if name in sacre.PACKAGES else made(name)
    )


@pytest.fixture
def bert_score(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in of bert-score and its tokenizer: F1 is the share of common words. Keeps what is asked."""
    import torch
    import transformers

    asked = SimpleNamespace(models=[], tokenizers=[], pairs=[], weights=[])

    class Model:
        def to(self, device):
            return self

    def bert_cos_score_idf(model, refs, hyps, tokenizer, idf_dict, *, device):
        assert isinstance(model, Model) and device in ("cpu", "cuda")
        asked.pairs += zip(hyps, refs, strict=True)
        asked.weights.append([idf_dict[token] for token in (tokenizer.cls_token_id, 5, tokenizer.sep_token_id)])
        words = [(set(output.split()), set(text.split())) for output, text in zip(hyps, refs, strict=True)]
        return torch.tensor([[0.0, 0.0, len(ours & theirs) / len(ours | theirs)] for ours, theirs in words])

    def tokenizer(name, **options):
        asked.tokenizers.append((name, options))
        return SimpleNamespace(cls_token_id=0, sep_token_id=2)

    package, utils = ModuleType("bert_score"), ModuleType("bert_score.utils")
    package.__spec__ = ModuleSpec("bert_score", None)
    utils.bert_cos_score_idf = bert_cos_score_idf
    utils.get_model = lambda *arguments: asked.models.append(arguments) or Model()
    utils.get_hash = lambda *arguments: "_".join(map(str, arguments))
    monkeypatch.setitem(sys.modules, "bert_score", package)
    monkeypatch.setitem(sys.modules, "bert_score.utils", utils)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", tokenizer)
    bertscore._scorer.cache_clear()
    yield asked
    bertscore._scorer.cache_clear()

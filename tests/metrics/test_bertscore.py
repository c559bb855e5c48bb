"""BERTScore: what the package is handed, cosines by hand, and the numbers of its own scorer under transformers 4.57."""

import json
import sys

import numpy as np
import pytest

from tunelab.errors import CannotScore
from tunelab.metrics import bertscore
from tunelab.metrics.bertscore import BertScore
from tunelab.records import Prediction

WORDS = ["the", "Ġthe", "Ġcat", "cat", "Ġsat", "Ġdog", "Ġran", "Ġ."]
TEXTS = [
    ("the cat sat .", ["the dog sat .", "the cat ran ."]),
    ("dog ran", [" the dog ran\n"]),
    ("cat " * 600, ["the cat sat . " * 200]),
    ("", ["the cat"]),
    ("the", ["", "  "]),
]
OFFICIAL = [0.8919879, 0.6363189, 0.6555837, 0.0, 0.0]


def rows(*pairs):
    return [
        Prediction(id=str(n), prompt="", prediction=text, references=tuple(refs))
        for n, (text, refs) in enumerate(pairs)
    ]


# ------------------------------------------------------------------ the package, a stand-in


def test_the_package_is_handed_its_default_model_and_a_tokenizer_with_the_space_before_the_first_word(bert_score):
    BertScore().statistics(rows(("a pub", ["the pub"])))
    BertScore().statistics(rows(("a pub", ["the pub"])))
    assert bert_score.models == [("roberta-large", 17)], "loaded once"
    assert bert_score.tokenizers == [("roberta-large", {"add_prefix_space": True, "model_max_length": 512})]
    assert bert_score.weights == [[0.0, 1.0, 0.0]] * 2


def test_the_best_reference_counts_and_an_empty_text_is_zero_and_never_handed_over(bert_score):
    pairs = [("a pub", ["the pub", "a pub", ""]), ("\n", ["a pub"]), ("b", ["", "a b"])]
    assert BertScore().statistics(rows(*pairs)).tolist() == [[1.0, 1.0], [0.0, 1.0], [0.5, 1.0]]
    assert bert_score.pairs == [("a pub", "the pub"), ("a pub", "a pub"), ("b", "a b")]
    assert BertScore().statistics(rows(("", ["a"]))).tolist() == [[0.0, 1.0]], "nothing is left to ask"


def test_the_signature_is_the_hash_of_the_package(bert_score):
    assert BertScore().signature() == "roberta-large_17_False_False_False_False|nrefs:best"


def test_without_the_package_the_reason_names_the_extra(monkeypatch):
    monkeypatch.setattr(bertscore, "find_spec", lambda name: None)
    assert "pip install 'tunelab[bertscore]'" in BertScore().missing()
    with pytest.raises(CannotScore, match=r"pip install 'tunelab\[bertscore\]'"):
        BertScore().statistics(rows(("a", ["a"])))
    assert BertScore().signature() == "roberta-large_L17_no-idf|nrefs:best"


def test_without_its_model_the_reason_says_so_in_one_line(bert_score, monkeypatch):
    def offline(*arguments):
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(sys.modules["bert_score.utils"], "get_model", offline)
    with pytest.raises(CannotScore, match=r"the model roberta-large, downloaded once .*: We couldn't connect$"):
        BertScore().statistics(rows(("a", ["a"])))


# ------------------------------------------------------------------ the package itself


@pytest.fixture
def tiny_roberta(tmp_path, monkeypatch):
    """Two layers in a local folder, weights drawn in the order of their names: the same under any transformers."""
    pytest.importorskip("bert_score")
    write_tiny_roberta(tmp_path)
    monkeypatch.setattr(bertscore, "MODEL", str(tmp_path))
    monkeypatch.setattr(bertscore, "LAYERS", 1)
    bertscore._scorer.cache_clear()
    yield tmp_path
    bertscore._scorer.cache_clear()


def write_tiny_roberta(folder) -> None:
    import torch
    from transformers import RobertaConfig, RobertaModel

    letters = sorted(set("".join(WORDS)))
    merges = [(word[:end], word[end]) for word in WORDS for end in range(1, len(word))]
    merges = list(dict.fromkeys(merges))
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, *dict.fromkeys("".join(pair) for pair in merges)]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{one} {two}\n" for one, two in merges))
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    ends = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    config = RobertaConfig(vocab_size=len(pieces), max_position_embeddings=514, type_vocab_size=1, **sizes, **ends)
    model = RobertaModel(config)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if "LayerNorm" not in name:
                weight.copy_((1.0 if "word" in name else 0.2) * torch.randn(weight.shape, generator=draw))
    model.save_pretrained(folder)


def test_equals_the_scorer_of_the_package_under_transformers_4(tiny_roberta):
    """Made by bert_score.BERTScorer(model_type=folder, num_layers=1).score under transformers 4.57.1, tokenizers 0.22,
    with a tokenizer_config.json that says "model_max_length": 512."""
    assert BertScore().statistics(rows(*TEXTS))[:, 0] == pytest.approx(OFFICIAL, abs=2e-6)


def test_equals_cosines_by_hand(tiny_roberta):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_roberta)
    model = AutoModel.from_pretrained(tiny_roberta).eval()

    def vectors(text: str) -> np.ndarray:
        ids = tokenizer(f" {text.strip()}", truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**ids, output_hidden_states=True).hidden_states[1][0].double().numpy()
        return hidden / np.linalg.norm(hidden, axis=1, keepdims=True)

    def f1(output: str, reference: str) -> float:
        cosines = vectors(output) @ vectors(reference).T  # start and end token can be matched and weigh nothing
        precision, recall = cosines.max(axis=1)[1:-1].mean(), cosines.max(axis=0)[1:-1].mean()
        return 2 * precision * recall / (precision + recall)

    texts = TEXTS[:3]
    expected = [max(f1(output, reference) for reference in references) for output, references in texts]
    assert BertScore().statistics(rows(*texts))[:, 0] == pytest.approx(expected, abs=2e-6)


def test_the_signature_carries_the_versions(tiny_roberta):
    import transformers

    assert f"_L1_no-idf_version=0.3.12(hug_trans={transformers.__version__})" in BertScore().signature()


@pytest.mark.parametrize("text", ["a \ud800 pub", "<s>", "</s><pad>", "日本 \u2028", "\u00a0x"])
def test_odd_texts_are_scored(tiny_roberta, text):
    assert np.isfinite(BertScore().statistics(rows((text, ["the cat"]), ("the", [text])))).all()

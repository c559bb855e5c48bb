"""Several models as one: distributions by hand, likelihoods through a session, generation against a slow loop."""

import numpy as np
import pytest
import torch

import tiny
from contracts.test_methods_made_of_runs import combined, logits, trained_parents
from tunelab.config.schema import Generation
from tunelab.data.tokens.batching import micro_batches
from tunelab.models.ensemble import mix
from tunelab.study.planning.plan import build_method


def ensemble(members, **options):
    return build_method("ensemble", {"of": ["full", "lora"], **options}).with_members(members)


def test_mix_by_hand():
    p, q = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.2, 0.2, 0.6])
    arithmetic = mix([p.log(), q.log() + 7], (1.0, 3.0), mean="probabilities")
    assert torch.allclose(arithmetic, (0.25 * p + 0.75 * q).log())
    geometric = mix([p.log() - 2, q.log()], (1.0, 1.0), mean="log_probabilities")
    product = (p * q).sqrt()
    assert torch.allclose(geometric, (product / product.sum()).log())
    assert torch.allclose(geometric.exp().sum(), torch.tensor(1.0))


def test_a_weight_of_0_leaves_a_model_out():
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
    for mean in ("probabilities", "log_probabilities"):
        assert torch.allclose(mix([p.log(), q.log()], (2.0, 0.0), mean=mean), p.log())


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_likelihoods_are_those_of_the_mean(kind, tmp_path):
    members, folders = trained_parents(kind, tmp_path)
    rows = tiny.rows(5, pairs=kind == "t5")
    session = combined(ensemble(members), kind, folders)
    session.verify(next(iter(micro_batches(rows[:2], max_tokens=999))))
    assert session.fast and session.notes[1:] == []
    losses = session.evaluate(micro_batches(rows, max_tokens=64))
    for row, loss in zip(rows, losses, strict=True):
        logs = []
        for model in session.model.models:
            if kind == "t5":
                decoder = torch.tensor([[0, *row.ids[:-1].tolist()]])
                out = model(input_ids=torch.tensor([row.source.tolist()]), decoder_input_ids=decoder).logits[0]
            else:
                out = model(input_ids=torch.tensor([row.ids.tolist()])).logits[0].roll(1, 0)
            logs.append(out.detach().double().log_softmax(-1))
        mean = torch.stack(logs).mean(0).log_softmax(-1)
        expected = -sum(float(mean[at, row.ids[at]]) for at in np.flatnonzero(row.supervised))
        assert loss.loss_sum == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_generation_equals_one_without_caches(kind, beams, tmp_path):
    """Prompts of several lengths in one batch, against the search over whole sequences below."""
    members, folders = spread_parents(kind, tmp_path)
    session = combined(ensemble(members, weights=[1.0, 2.0]), kind, folders)
    prompts = [np.array(ids, dtype=np.int32) for ids in ([5, 9, 7, 30], [40, 3], [11, 12, 13, 14, 15, 16])]
    settings = Generation(beams=beams, max_new_tokens=6)
    texts = session.generate(prompts, settings, progress=lambda done: None)
    assert min(len(text) for text in texts) > 0
    assert texts == [slow_search(session.model, prompt, beams=beams, new=6) for prompt in prompts]
    alone = combined(ensemble(members, weights=[1.0, 0.0]), kind, folders)
    assert alone.generate(prompts, settings, progress=lambda done: None) != texts, "the second model changed nothing"


def spread_parents(kind: str, folder):
    """Two random models that are sure of what they say, and say different things."""
    folders = []
    for seed in (1, 2):
        model = tiny.model(kind, seed=seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3.0 if parameter.ndim >= 2 else 1.0)
        folders.append(folder / f"random-{seed}")
        model.save_pretrained(folders[-1])
    return [build_method("full", {})] * 2, folders


def slow_search(model, prompt: np.ndarray, *, beams: int, new: int) -> list[int]:
    """Beam search by definition: no cache, no batch; finished sequences compete by mean log-probability."""
    pairs = model.config.is_encoder_decoder
    start = [0] if pairs else prompt.tolist()
    running, finished = [(0.0, [])], []
    for _ in range(new):
        grown = []
        for score, ids in running:
            inputs = {"input_ids": torch.tensor([prompt.tolist() if pairs else start + ids])}
            if pairs:
                inputs["decoder_input_ids"] = torch.tensor([start + ids])
            with torch.no_grad():
                logs = model(**inputs).logits[0, -1].log_softmax(-1)
            grown += [(score + float(value), [*ids, token]) for token, value in enumerate(logs)]
        grown.sort(key=lambda each: -each[0])
        # An end token finishes only a sequence among the first `beams` of the candidates.
        finished += [(score / len(ids), ids) for score, ids in grown[:beams] if ids[-1] == 1]
        running = [each for each in grown if each[1][-1] != 1][:beams]
        if beams == 1 and finished:
            break
    finished += [(score / len(ids), ids) for score, ids in running] if beams > 1 or not finished else []
    best = max(finished, key=lambda each: each[0])[1]
    return best[: best.index(1)] if 1 in best else best


def test_size_and_parameters_are_the_sum(tmp_path):
    members, folders = trained_parents("llama", tmp_path)
    session = combined(ensemble(members), "llama", folders)
    parts = [member.attach(tiny.model("llama"), seed=0) for member in members]
    assert session.parameters().total == sum(p.numel() for part in parts for p in part.parameters())
    (tmp_path / "out").mkdir()
    saved = session.write_model(tmp_path / "out")
    sizes = [file.stat().st_size for folder in folders for file in folder.rglob("*.safetensors")]
    assert len(sizes) >= 2 and saved == pytest.approx(sum(sizes) / 1024**2)


def test_of_one_model_twice_it_is_that_model(tmp_path):
    members, folders = trained_parents("llama", tmp_path)
    session = combined(ensemble([members[1]] * 2), "llama", [folders[1]] * 2)
    one = logits(session.model.models[0], "llama").log_softmax(-1)
    assert torch.allclose(logits(session.model, "llama"), one, atol=1e-5)

"""Counts that are kept: the same as counted anew, and a plan that finds them imports nothing that is heavy."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunelab.backends.torch.backend import TorchHf
from tunelab.backends.torch.loading import count, limits
from tunelab.config.schema import ModelSource
from tunelab.data import kept
from tunelab.errors import ConfigError
from tunelab.records import ParameterCount
from tunelab.study import counts
from tunelab.study.counts import Counts
from tunelab.study.planning.plan import build_method

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "counts.py"
HEAVY = ("torch", "transformers", "peft", "matplotlib", "pandas", "pyarrow", "datasets", "sklearn", "numba", "scipy")
DRAWING = ("matplotlib", "pandas", "datasets", "sklearn", "numba")
TORCH = Counts(TorchHf())
TINY = ModelSource(name="tunelab/tiny")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "counts"


def imported_by(*command: str) -> set[str]:
    """Modules that a command of tunelab imports."""
    code = "import sys; from tunelab.cli import app; app(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.slow
@pytest.mark.parametrize("study", ["quickstart", "gsm8k-lora-rosa-galore", "e2e-gpt2-lora"])
def test_a_bundled_study_is_planned_without_importing_what_is_heavy(empty_cache, study):
    assert not imported_by("plan", study) & {*HEAVY}
    assert not empty_cache.exists(), "it was counted"


@pytest.mark.slow
def test_what_was_planned_once_is_planned_again_without_importing_what_is_heavy(empty_cache):
    command = (
        "plan",
        "quickstart",
        "--set",
        "methods=[{lora: {rank: 5}}, {galore: {rank: 3}}, {peft_any: {type: IA3}}]",
    )
    first = imported_by(*command)
    assert "torch" in first and not first & {*DRAWING}
    assert not imported_by(*command) & {*HEAVY}


@pytest.mark.slow
def test_memory_that_was_predicted_once_is_in_every_plan(empty_cache):
    """Without importing what is heavy; before it is known a plan says how it is asked for."""
    plan = [sys.executable, "-m", "tunelab", "plan", "quickstart"]
    first = subprocess.run(plan, capture_output=True, text=True, check=True).stdout
    assert "Predicted memory and time: tunelab plan with --memory, with --time" in first
    table = subprocess.run([*plan, "--memory", "cpu"], capture_output=True, text=True, check=True).stdout
    line = next(line for line in table.splitlines() if line.startswith("lora  ") and line.endswith("yes"))
    after = subprocess.run(plan, capture_output=True, text=True, check=True).stdout
    peak = " ".join(line.split()[-3:-1])
    assert "Predicted peak memory on this processor (" in after and f", lora {peak}; by part, or elsewhere: " in after
    assert not imported_by("plan", "quickstart") & {*HEAVY}
    elsewhere = subprocess.run([*plan, "--set", "launch.cluster=slurm"], capture_output=True, text=True, check=True)
    assert "Predicted peak" not in elsewhere.stdout, "of a cluster's machines this one knows nothing"


def test_what_comes_with_the_package_is_what_is_counted():
    specification = importlib.util.spec_from_file_location("counts_script", SCRIPT)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    assert json.loads(counts.SHIPPED.read_text()) == script.counts(), "run: python scripts/counts.py"


@pytest.mark.parametrize(
    ("name", "options"), [("lora", {"rank": 3}), ("galore", {}), ("layerwise", None), ("sequential", None)]
)
def test_a_kept_count_is_the_count(empty_cache, monkeypatch, name, options):
    model = ModelSource(name="google/flan-t5-small")
    method = build_method(name, counted_example(name) if options is None else options)
    made = count(model, method)
    assert TORCH.count(model, method) == made and isinstance(made, ParameterCount)
    monkeypatch.setattr("tunelab.backends.torch.loading.count", None)
    assert TORCH.count(model, method) == made
    assert isinstance(TORCH.count(model, method).remarks, tuple)


def counted_example(name: str) -> dict:
    from tunelab import catalogue

    return catalogue.load("methods", name).example()


def test_a_kept_limit_is_the_limit(empty_cache, monkeypatch):
    model = ModelSource(name="google/flan-t5-base")
    made = limits(model), limits(TINY)
    assert (TORCH.limits(model), TORCH.limits(TINY)) == made
    monkeypatch.setattr("tunelab.backends.torch.loading.limits", None)
    assert (TORCH.limits(model), TORCH.limits(TINY)) == made


def test_other_options_configurations_members_code_and_tokenizers_are_counted_apart(empty_cache, tmp_path, monkeypatch):
    def keys(model=TINY):
        methods = [build_method("lora", {"rank": rank}) for rank in (4, 5)]
        merged = [build_method("merge", {"of": ["a", "b"], "how": "average"}) for _ in methods]
        merged = [each.with_members([method]) for each, method in zip(merged, methods, strict=True)]
        return [TORCH.count_key(model, method) for method in (None, *methods, *merged)]

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 48}))
    one = keys(local := ModelSource(name=str(folder)))
    known = limits_key = TORCH.limits_key(local)
    (folder / "tokenizer.json").write_text("{}")
    assert TORCH.limits_key(local) != limits_key
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 96}))
    assert len({*keys(), *one, *keys(local), known}) == 16
    state = kept.code_state()
    kept.code_state.cache_clear()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    assert kept.code_state() != state
    kept.code_state.cache_clear()


def test_of_a_method_whose_source_is_not_there_nothing_is_kept(empty_cache):
    lora = type(build_method("lora", {}))
    made_here = type("MadeHere", (lora,), {"__module__": "nowhere"})
    assert TORCH.count_key(TINY, made_here(learning_rate=1.0)) is None
    assert TORCH.count(TINY, made_here(learning_rate=1.0)).trainable > 0 and not empty_cache.exists()


def test_a_damaged_or_missing_cache_costs_time_alone(empty_cache, monkeypatch):
    method = build_method("lora", {"rank": 3})
    made = TORCH.count(TINY, method)
    (file,) = empty_cache.glob("*.json")
    for content in ("", "[1]", '{"half'):
        file.write_text(content)
        assert TORCH.count(TINY, method) == made
    monkeypatch.setenv("TUNELAB_CACHE", "/proc/nowhere")
    assert TORCH.count(TINY, method) == made


def test_a_method_that_does_not_fit_is_refused_each_time(empty_cache):
    method = build_method("lora", {"targets": ["nothing_of_that_name"]})
    for _ in range(2):
        with pytest.raises(ConfigError, match="nothing_of_that_name"):
            TORCH.count(TINY, method)


def test_counts_of_code_that_is_gone_are_deleted(empty_cache, monkeypatch):
    for number in range(kept.KEPT + 2):
        monkeypatch.setattr(kept, "code_state", lambda number=number: f"state{number}")
        assert TORCH.count(TINY, build_method("lora", {"rank": 3})).trainable > 0
    assert len(list(empty_cache.glob("*.json"))) == kept.KEPT


def test_int8_codes_without_weights_have_the_sizes_of_those_with(empty_cache):
    import torch

    from tunelab.models.int8 import quantise

    weight = torch.randn(7, 45)
    for made, sized in zip(quantise(weight, draw=None), quantise(weight.to("meta"), draw=None), strict=True):
        assert made.shape == sized.shape and made.dtype == sized.dtype


@pytest.mark.parametrize(("options", "said"), [({"rr": 4}, "unknown key 'rr'"), ({"r": "four"}, "r: must be")])
def test_options_that_peft_refuses_are_refused_each_time(empty_cache, options, said):
    for _ in range(2):
        with pytest.raises(ValueError, match=said):
            build_method("peft_any", {"type": "lora", **options})
    assert not empty_cache.exists()
    assert build_method("peft_any", {"type": "lora", "r": 4}).type == "LORA" and empty_cache.exists()

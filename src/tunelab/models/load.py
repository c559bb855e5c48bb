"""Finds and loads a model: a hub id (pinned to a commit), a local folder, or a model embedded in the package.

safetensors only; code from a model's repository runs only when the study says `trust_remote_code: true`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab.config.schema import ModelSource
from tunelab.errors import ModelError
from tunelab.kernels.peft_format import read_tensors
from tunelab.models.config_file import read_by_transformers, read_config, told
from tunelab.models.configurations import EMBEDDED, doubt, read_known
from tunelab.models.found_weights import check_found, check_index
from tunelab.models.tokenizer_files import check_libraries, name_tokens
from tunelab.records import Located, TextSide

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

TEXT_FILES = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.spm"]
"""Configuration, tokenizer and templates of every kind."""
WEIGHTS = "*.safetensors"


def local_folder(source: ModelSource) -> Path | None:
    """The folder of an embedded or local model; None for a hub id.

    Raises:
        ModelError: a path (and no hub id) without a folder, or an unknown embedded name.
    """
    if source.name in EMBEDDED:
        return EMBEDDED[source.name]
    if source.name.startswith("tunelab/"):
        raise ModelError(f"model '{source.name}': no such embedded model; there are {', '.join(EMBEDDED)}")
    folder = Path(source.name).expanduser()
    if folder.is_dir():
        return folder
    if source.name.startswith((".", "/", "~")) or source.name.count("/") > 1:
        raise ModelError(f"model '{source.name}': there is no such folder, and a hub id is owner/name")
    return None


def _config(source: ModelSource, folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").exists():
        raise ModelError(f"model '{source.name}': no config.json in {folder}; a Hugging Face model folder is wanted")
    return read_config(folder / "config.json", name=source.name)


def locate(source: ModelSource) -> Located:
    """Bring the model's files here and pin them. A run that was planned with a commit gets that commit.

    Raises:
        ModelError: missing, gated, unreachable, or no safetensors.
    """
    folder = local_folder(source)
    if folder is None:
        return _from_hub(source)
    _config(source, folder)
    if source.initialize == "pretrained" and not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"model '{source.name}': no .safetensors weights in {folder}; pickled weights (.bin, .pt) are never read: "
            "convert them once with transformers' save_pretrained"
        )
    check_index(folder, name=source.name)
    return Located(folder, f"sha256:{_folder_sha256(folder, weights=source.initialize == 'pretrained')}")


def _from_hub(source: ModelSource) -> Located:
    from huggingface_hub import snapshot_download

    name, revision = source.name, source.revision or "main"
    wanted = TEXT_FILES + ([WEIGHTS] if source.initialize == "pretrained" else [])
    with _hub_faults(name, revision):
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    if source.initialize == "pretrained" and not any(folder.glob(WEIGHTS)):
        raise ModelError(f"model '{name}' has no .safetensors weights on the hub; pickled weights are never read")
    _config(source, folder)
    check_index(folder, name=name)
    return Located(folder, folder.name)


def fetch_configuration(source: ModelSource) -> dict[str, Any] | None:
    """config.json from the hub; None where the hub cannot be reached.

    Raises:
        ModelError: the hub says that there is no such model or revision, or that it is gated.
    """
    from huggingface_hub import HfApi, errors, hf_hub_download

    revision = source.revision or "main"
    with _hub_faults(source.name, revision):
        try:
            HfApi().model_info(source.name, revision=revision, timeout=10)  # a download alone retries for half a minute
        except errors.HfHubHTTPError:  # the hub has answered
            raise
        except (errors.OfflineModeIsEnabled, _http_error()):
            return None
        path = hf_hub_download(source.name, "config.json", revision=revision)
    return read_config(Path(path), name=source.name)


@contextmanager
def _hub_faults(name: str, revision: str) -> Iterator[None]:
    """What the hub says, or that it says nothing, as a ModelError with the way out."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise ModelError(
            f"model '{name}' is gated: accept its terms on the hub, then log in with 'hf auth login'"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"model '{name}': neither a folder here nor a model on the hub (private ones need a login)"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"model '{name}' has no revision '{revision}' on the hub") from None
    except errors.RemoteEntryNotFoundError:
        raise ModelError(f"model '{name}' has no config.json on the hub; a model of transformers is wanted") from None
    except errors.HFValidationError:
        raise ModelError(f"model '{name}': neither a folder here nor a valid hub id (owner/name)") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, _http_error(), OSError) as error:
        doubtful = f" ({said})" if (said := doubt(name)) else ""
        raise ModelError(
            f"model '{name}'{doubtful} is not on this machine and the hub cannot be reached ({type(error).__name__}); "
            "connect, or give a local folder, or use tunelab/tiny"
        ) from None


def _http_error() -> type[Exception]:
    """A failed connection is raised as the HTTP client's own error, and which client that is has changed."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__mro__[1]


def _folder_sha256(folder: Path, *, weights: bool) -> str:
    """Of everything that loading reads, so that another vocabulary or generation configuration is another model."""
    patterns = [*TEXT_FILES, "*.py", "*chat_templates/*.jinja", *([WEIGHTS] if weights else [])]
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return _sha256_of(folder, tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@cache
def _sha256_of(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """Read again where a file's time or size has changed."""
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def read_configuration(source: ModelSource) -> dict[str, Any] | None:
    """config.json without the hub: embedded, local, well-known, or already downloaded; else None."""
    folder = local_folder(source)
    if folder is not None:
        return _config(source, folder)
    known = read_known(source.name)
    if known is not None:
        return known
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(source.name, "config.json", revision=source.revision)
    except errors.HFValidationError:
        raise ModelError(f"model '{source.name}': neither a folder here nor a valid hub id (owner/name)") from None
    return read_config(Path(cached), name=source.name) if isinstance(cached, str) else None


def skeleton(configuration: dict[str, Any], *, name: str = "") -> PreTrainedModel:
    """The model on the meta device: shapes without weights.

    Raises:
        ModelError: transformers makes no model of it.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoConfig

    quieten_transformers()
    kind, of = configuration["model_type"], f"model '{name}': config.json" if name else "config.json"
    if kind not in CONFIG_MAPPING:
        raise ModelError(f"{of}: model_type: this version of transformers knows no '{kind}'")
    options = {key: value for key, value in configuration.items() if key not in ("model_type", "architectures")}
    with told(f"{of}: transformers makes no model of it"), torch.device("meta"):
        config = AutoConfig.for_model(kind, **options)
        return build(config, tied=configuration.get("tie_word_embeddings"))


def build(config: PretrainedConfig, *, tied: bool | None) -> PreTrainedModel:
    """A model with new weights. `tied` is what config.json says of the output head: transformers ties every T5 by
    construction, while a checkpoint with its own head loads untied."""
    import torch

    model = automatic(config).from_config(config)
    head = model.get_output_embeddings()
    if tied is False and head is not None and head.weight is model.get_input_embeddings().weight:
        head.weight = torch.nn.Parameter(torch.empty_like(head.weight).normal_(std=0.02))
    return model


def load_model(
    source: ModelSource, located: Located, *, seed: int, note: Callable[[str], None] = lambda text: None
) -> PreTrainedModel:
    """The model in the precision of its files, in evaluation mode.

    Raises:
        ModelError: transformers cannot read it, or its files do not hold its weights.
    """
    import torch

    quieten_transformers()
    config = read_by_transformers(located.folder, source)
    with told(f"model '{source.name}' cannot be loaded"):
        if source.initialize == "random":
            torch.manual_seed(seed)
            model = automatic(config).from_config(config, dtype=torch.float32)
        else:
            model, said = automatic(config).from_pretrained(
                located.folder,
                config=config,
                dtype="auto",
                use_safetensors=True,
                trust_remote_code=source.trust_remote_code,
                ignore_mismatched_sizes=True,  # they are told below
                output_loading_info=True,
            )
            check_found(model, said, name=source.name, note=note)
    model.config._name_or_path = source.name  # adapters are saved with it, and a cache folder means nothing elsewhere
    return model.eval()


def quieten_transformers() -> None:
    """No progress bars and no advice: a run's own lines are what a terminal shows."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def load_text(source: ModelSource, located: Located) -> TextSide:
    """The model's tokenizer; a padding token is set where there is none (padding never enters a loss)."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # nothing is forked, where threads would be a danger
    from transformers import AutoTokenizer

    quieten_transformers()
    config = read_by_transformers(located.folder, source)
    of = f"model '{source.name}': its tokenizer cannot be loaded"
    with told(of, first=lambda: check_libraries(located.folder, model=source.name)):
        tokenizer = AutoTokenizer.from_pretrained(located.folder, trust_remote_code=source.trust_remote_code)
    if set(tokenizer.get_vocab()) <= {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}:
        raise ModelError(
            f"model '{source.name}': its tokenizer knows no text; the folder lacks tokenizer.json (or vocab.json and "
            "merges.txt, or tokenizer.model): save the tokenizer there too"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if source.tokens:
        name_tokens(tokenizer, source.tokens, model=source.name)
    return TextSide(tokenizer, bool(config.is_encoder_decoder))


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder's safetensors files."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: no .safetensors weights in it")
    return {name: tensor for file in files for name, tensor in read_tensors(file).items()}


def unsaved(model: PreTrainedModel) -> set[str]:
    """Parameters that no file holds because the model makes them itself: Marian's sinusoidal positions."""
    return set(getattr(model, "_keys_to_ignore_on_save", None) or ())


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Read plain weights into a model, in place.

    Raises:
        ModelError: the weights are another model's.
    """
    tensors = read_weights(folder)
    missing, unexpected = _misfits(model, tensors)
    if missing or unexpected:  # some architectures name or stack their weights otherwise in files: GPT-NeoX, Mixtral
        tensors = _as_transformers_reads(model, folder)
    if tensors is None:
        raise ModelError(f"{folder}: weights of another model (missing {missing[:3]}, unexpected {unexpected[:3]})")
    model.load_state_dict(tensors, strict=False)


def _misfits(model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> tuple[list[str], list[str]]:
    """Names that are missing, and those that the model does not have."""
    own = model.state_dict().keys()
    needless = set(getattr(model, "all_tied_weights_keys", None) or ()) | unsaved(model)
    return sorted(own - tensors.keys() - needless), sorted(tensors.keys() - own)


def _as_transformers_reads(model: PreTrainedModel, folder: Path) -> dict[str, torch.Tensor] | None:
    """None: the folder does not hold all of this model's weights, or holds others."""
    import torch

    kind: Any = type(model)
    try:
        again, said = kind.from_pretrained(
            folder, config=model.config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (ValueError, OSError, RuntimeError):
        return None
    misfits = any(said[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return None if misfits else again.state_dict()


def automatic(config: Any) -> Any:
    """transformers' class for models of this kind."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM

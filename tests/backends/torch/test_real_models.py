"""A real pretrained model through the ordinary local-folder path."""

import numpy as np

from tunelab.config.schema import Generation, ModelSource
from tunelab.models.generation_file import end_tokens
from tunelab.models.inference import Prompts, generate
from tunelab.models.load import load_model, load_text, locate


def test_stories260k_tells_its_documented_story(shared):
    source = ModelSource(name=str(shared / "data" / "tiny_models" / "stories260K_hf"))
    located = locate(source)
    assert located.revision.startswith("sha256:")
    model, text = load_model(source, located, seed=0).float(), load_text(source, located)
    assert not text.encoder_decoder
    prompt = np.array([text.tokenizer.bos_token_id], dtype=np.int32)
    settings = Generation(max_new_tokens=60)
    ends = end_tokens(model, text.tokenizer)
    (ids,) = generate(model, Prompts([prompt]), settings, ends=ends, pad=0, max_tokens=4096)
    story = text.tokenizer.decode(ids)
    documented = (shared / "data" / "tiny_models" / "stories260K" / "stories260K.md").read_text()
    assert len(story) > 100
    assert " ".join(story.split()[:25]) in " ".join(documented.split())

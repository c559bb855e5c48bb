"""A session ends generated text where a turn ends."""

import numpy as np
import torch

import tiny
from tunelab.backends.torch.session import TorchSession
from tunelab.config.schema import Generation, ModelSource
from tunelab.models.load import load_model, load_text, locate


def test_generation_ends_at_the_end_of_turn_token_of_the_chat_template():
    source = ModelSource(name="tunelab/tiny")
    located = locate(source)
    model, tokenizer = load_model(source, located, seed=0).float(), load_text(source, located).tokenizer
    prompt = np.array(tokenizer("Once upon a time")["input_ids"], dtype=np.int32)

    def written() -> list[int]:
        session = TorchSession(model, None, tiny.run_config(), tokenizer, [])
        return session.generate([prompt], Generation(max_new_tokens=6), progress=lambda done: None)[0]

    special = tokenizer.convert_tokens_to_ids("<|user|>")
    weight_VH, third = model.get_output_embeddings().weight, written()[2]
    with torch.no_grad():
        weight_VH[special] = 1.5 * weight_VH[third]
    before = written()
    assert before.index(special) < len(before) - 1, "the model writes the token and goes on"
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|user|>' }}{% endfor %}"
    tokenizer.chat_template += "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    assert written() == before[: before.index(special)]

"""Regular expressions of a study: broken ones, and those that would try for ever, are one line each."""

import time

import pytest

import tiny
from tunelab.errors import ConfigError
from tunelab.kernels.patterns import matcher
from tunelab.methods.full import Full
from tunelab.methods.lora import Lora
from tunelab.models.targets import select_parts

SLOW = r"(.|[a-z_.0-9])*[A-Z]"


def test_the_whole_name_counts():
    assert matcher("targets", r".*\.q_proj")("model.layers.0.self_attn.q_proj")
    assert not matcher("targets", "q_proj")("model.layers.0.self_attn.q_proj")


def test_a_broken_one_says_where_it_stands():
    with pytest.raises(ConfigError, match=r"^targets: '\(' is not a regular expression \(missing \) at position 1\)$"):
        select_parts(tiny.model("llama"), "(")
    with pytest.raises(ConfigError, match=r"^ranks: 'a\[' is not a regular expression"):
        Lora(rank=4, ranks={"a[": 2}).attach(tiny.model("llama"), seed=0)


@pytest.mark.parametrize(
    "method, field",
    [
        (Lora(rank=4, targets=SLOW), "targets"),
        (Lora(rank=4, ranks={SLOW: 2}), "ranks"),
        (Lora(rank=4, also=SLOW), "also"),
        (Full(freeze=SLOW), "freeze"),
    ],
    ids=["targets", "ranks", "also", "freeze"],
)
def test_one_that_would_try_for_ever_is_refused(method, field):
    began = time.monotonic()
    with pytest.raises(ConfigError, match=rf"^{field}.*takes longer than 1 s on '.*write it without"):
        method.attach(tiny.model("llama"), seed=0)
    assert time.monotonic() - began < 20

"""GaLore against the authors' galore-torch 1.0, step by step on the same gradients."""

import pytest
import torch
from galore_torch import GaLoreAdamW

from tunelab.config.schema import Optimizer
from tunelab.kernels.projector import Projector
from tunelab.training.matrices import FloatMatrix
from tunelab.training.projected import Projected, ProjectedRule, Settings, inner_optimizer

SHAPES = {"tall": (48, 32), "wide": (32, 48), "square": (32, 32)}


def ours(weight, rule: Optimizer, *, side: str, gap: int) -> ProjectedRule:
    matrix = FloatMatrix(weight, transposed=False)
    projector = Projector(matrix.shape, rank=8, kind="svd", side=side, name="w", seed=0)
    settings = Settings(update_gap=gap, scale=0.25, moments="keep")
    return ProjectedRule(
        {"w": Projected(matrix, projector, settings, inner_optimizer(rule, kind="adamw"))}, None, rule, notes={}
    )


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("side", ["std", "reverse_std", "left", "right"])
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_equal_the_authors_until_the_first_refresh(shape, side, decay):
    """Decay comes before the step here, as in torch's AdamW, and after it there: lr * decay * the step apart."""
    torch.manual_seed(0)
    start, gradients = torch.randn(SHAPES[shape]), torch.randn(12, *SHAPES[shape])
    one, other = (torch.nn.Parameter(start.clone()) for _ in range(2))
    rule, rate = Optimizer(weight_decay=decay), 1e-2
    updater = ours(one, rule, side=side, gap=200)
    group = {"params": [other], "rank": 8, "update_proj_gap": 200, "scale": 0.25, "proj_type": side}
    reference = GaLoreAdamW([group], lr=rate, eps=rule.eps, weight_decay=decay, no_deprecation_warning=True)
    for gradient in gradients:
        (one * gradient).sum().backward()
        updater.update(learning_rate=rate, max_norm=None)
        other.grad = gradient.clone()
        reference.step()
        tolerance = 2e-6 + 12 * rate * decay * rate * 0.25
        assert (one - other).abs().max() < tolerance
    assert (one - start).abs().max() > 1e-3

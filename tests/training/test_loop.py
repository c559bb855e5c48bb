"""The loop's own numbers, calculated by hand over a session that says what it is told to; runs that diverge."""

import math

import pytest

import tiny
from training_harness import NoCheckpoints, NoMemory, Records, run_training
from tunelab.backend_contract import Session
from tunelab.errors import Diverged
from tunelab.methods.full import Full
from tunelab.records import TokenLoss, TokenRow
from tunelab.training.loop import Loop, train, validate
from tunelab.training.state import Checkpoints
from tunelab.training.telemetry import Meter

TOKEN_LOSSES = [TokenLoss(6.0, 4), TokenLoss(2.0, 1), TokenLoss(1.0, 1)]


class Told:
    """Step n has the n-th loss (of every supervised token) and gradient norm; `asked` is what the loop wants of it."""

    loss_scale = most_tokens = None
    num_ranks, pads, part, save = 1, True, 0, None
    accumulate_shares = Session.accumulate_shares

    def __init__(self, losses, *, norms=None, evaluated=TOKEN_LOSSES):
        self.losses, self.norms, self.evaluated = losses, norms or [0.5] * len(losses), evaluated
        self.keys, self.rates, self.asked = [], [], []
        self.step = 0

    def seed(self, *key):
        self.keys.append(key)

    def accumulate(self, batch, *, denominator, last):
        self.asked.append((batch.num_supervised, denominator, last))
        return self.losses[self.step] * batch.num_supervised

    def gradient_norm(self):
        return self.norms[self.step]

    def update(self, *, learning_rate, max_norm):
        self.rates.append((learning_rate, max_norm))
        self.step += 1

    def evaluate(self, batches):
        return self.evaluated

    def wants_look(self, *, num_batches):
        return False

    def part_at(self, number, num_steps):
        return 0

    def rate(self):
        return 1.0

    def num_kernels(self):
        return None


def trained(session, *, rows=None, held_out=(), records=None, checkpoints=None, **changes):
    """Records and the last state."""
    run = tiny.run_config(**{"budget": {"steps": len(session.losses)}, **changes})
    records = records or Records()
    rest = checkpoints or NoCheckpoints(), Meter(NoMemory()), lambda event: None
    return records, train(session, Loop(run, 0.25, rows or tiny.rows(12), list(held_out), records, *rest))


def test_the_smoothed_loss_by_hand():
    """Weights 0.98 ** age, divided by their sum: 1, 1.98, 2.9404."""
    records, _ = trained(Told([2.0, 4.0, 1.0]))
    assert records.losses == pytest.approx([2.0, 4.0, 1.0])
    wanted = [2.0, (0.98 * 2 + 4) / 1.98, (0.9604 * 2 + 0.98 * 4 + 1) / 2.9404]
    assert [record.ema_loss for record in records.steps] == pytest.approx(wanted, rel=1e-12)


def test_values_of_validation_by_hand():
    """9 nats over 6 tokens of 3 examples; two steps are an epoch."""
    records, state = trained(Told([1.0] * 3), held_out=tiny.rows(3), validation={"every": 0.5})
    assert [record.step for record in records.validations] == [1, 2, 3]
    assert [record.epoch for record in records.validations] == [0.5, 1.0, 1.5]
    for record in records.validations:
        assert (record.loss, record.sequence_loss, record.tokens, record.sequences) == (1.5, 3.0, 6, 3)
        assert record.perplexity == pytest.approx(4.4816890703)
        assert record.bits_per_token == pytest.approx(2.1640425613)
    assert state.validation_loss == 1.5


class Validated(Told):
    """Each pass of validation has the next of these losses; weights are the step at which they were written."""

    def __init__(self, losses):
        super().__init__([1.0] * len(losses))
        self.validation_losses, self.read = list(losses), []

    def evaluate(self, batches):
        return [TokenLoss(4 * self.validation_losses.pop(0), 4)]

    def save(self, folder):
        (folder / "state").write_text(str(self.step))

    write_model = save

    def read_model(self, folder):
        self.read.append((folder / "state").read_text())


@pytest.mark.parametrize(
    ("keep", "losses", "step", "loss", "read"),
    [
        ("best", [3.0, 2.0, 2.0, 4.0], 2, 2.0, ["2"]),  # the first of equal ones
        ("best", [3.0, 2.0, 1.0, 0.5], 4, 0.5, []),  # the last step's are in place
        ("best", [1.0, 2.0, 3.0, 4.0], 1, 1.0, ["1"]),
        ("last", [1.0, 2.0, 3.0, 4.0], None, 4.0, []),
    ],
)
def test_the_result_is_of_the_lowest_validation_loss_or_of_the_last_step(keep, losses, step, loss, read, tmp_path):
    session = Validated(losses)
    _, state = trained(
        session, held_out=tiny.rows(3), validation={"every": 0.5, "keep": keep},
        checkpoints=Checkpoints(tmp_path, seconds=1e9),
    )  # fmt: skip
    assert (state.kept_step, state.validation_loss, session.read) == (step, loss, read)


def test_a_step_is_recorded_as_it_was_taken():
    """A third of a batch a micro-batch: each divides by the supervised tokens of the whole step."""
    row = TokenRow(0, tiny.rows(1)[0].ids[:4], [False, True, True, True])
    rows = [row._replace(example=number) for number in range(6)]
    told = Told([2.0, 3.0], norms=[0.5, 7.0])
    records, state = trained(told, rows=rows, batch={"examples": 6, "max_tokens": 8}, optimizer={"clip": 0.75})
    assert told.asked == [(6, 18, False), (6, 18, False), (6, 18, True)] * 2
    assert told.rates == [(0.25, 0.75)] * 2
    assert [(each.num_tokens, each.num_supervised_tokens) for each in records.steps] == [(24, 18)] * 2
    assert [each.grad_norm for each in records.steps] == [0.5, 7.0] and [each.loss for each in records.steps] == [2, 3]
    assert (state.step, state.num_tokens, state.num_supervised_tokens) == (2, 48, 36)


def test_draws_are_keyed_by_seed_step_and_micro_batch():
    row = TokenRow(0, tiny.rows(1)[0].ids[:4], [False, True, True, True])
    told = Told([1.0] * 3)
    rows = [row._replace(example=number) for number in range(6)]
    trained(told, rows=rows, seed=7, batch={"examples": 6, "max_tokens": 12})
    assert told.keys == [(7, step, place) for step in (1, 2, 3) for place in (0, 1)]


def test_dropout_is_another_at_each_step():
    """The weights do not move and every step has the same rows: what differs between losses is what was dropped."""
    rows = [tiny.rows(1)[0]._replace(example=number) for number in range(6)]
    still = {"budget": {"steps": 4}, "batch": {"examples": 6}}
    losses = {
        dropped: run_training(
            Full(learning_rate=1e-30), tiny.model("gpt2", resid_pdrop=dropped), rows, **still
        ).records.losses
        for dropped in (0.0, 0.5)
    }
    assert len(set(losses[0.0])) == 1 and len(set(losses[0.5])) == 4


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 0.5), (math.inf, 0.5), (2.0, math.inf), (2.0, math.nan), (math.nan, math.nan)]
)
def test_a_step_that_is_not_finite_ends_the_run_and_moves_nothing(loss, norm):
    told = Told([2.0, loss, 2.0], norms=[0.5, norm, 0.5])
    records = Records()
    with pytest.raises(Diverged, match=r"^step 2: loss .* at learning rate 0\.25; the run diverged") as caught:
        trained(told, records=records)
    assert caught.value.step == 2
    assert len(told.rates) == 1, "the second step moved the weights"
    assert [record.step for record in records.steps] == [1]


@pytest.mark.parametrize("total", [math.nan, math.inf, 4 * 701.0])
def test_a_validation_loss_that_has_no_perplexity_ends_the_run(total):
    told = Told([], evaluated=[TokenLoss(total, 4)])
    with pytest.raises(Diverged, match=r"^step 9: validation loss .*; the run diverged") as caught:
        validate(told, tiny.rows(2), max_tokens=100, step=9)
    assert caught.value.step == 9

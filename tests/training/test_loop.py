"""The loop: what it computes, when it stops, what it leaves behind and what it leaves alone."""

import json
from itertools import chain, count, pairwise

import pytest
import torch
from learner import Network, Windows, assert_same_bits, loss, network, settings, validate, weights
from torch import Tensor, nn

from carrousel.errors import DivergedError, SettingError
from carrousel.layers import compiled
from carrousel.training import History, Report, learning_rate_factor, parameter_groups, seeded, silent, train


def fit(
    model: nn.Module, validate=validate, batches=None, loss=loss, groups=None, progress=silent, **changes
) -> History:
    return train(
        model,
        Windows() if batches is None else batches,
        loss,
        validate,
        settings(**changes),
        groups=groups,
        progress=progress,
    )


class Recorder:
    """Batches that remember which examples were asked for."""

    def __init__(self, count: int) -> None:
        self.windows, self.asked = Windows(count=count), []

    def __len__(self) -> int:
        return len(self.windows)

    def __call__(self, index: Tensor):
        self.asked.append(index.tolist())
        return self.windows(index)


def test_loop_learns_what_a_loop_written_by_hand_learns() -> None:
    by_hand = network(dropout=0.0)
    groups = [
        {"params": [p for p in by_hand.parameters() if p.ndim == 2], "weight_decay": 0.1},
        {"params": [p for p in by_hand.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-3)
    recorder, model = Recorder(100), network(dropout=0.0)
    history = fit(model, batches=recorder, max_epochs=2, clip_norm=0.05, schedule="linear", validate_every=8)
    losses = []
    for step, index in enumerate(recorder.asked):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / 8)
        value = loss(by_hand, Windows()(torch.tensor(index)))
        losses.append(float(value.detach()))
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(by_hand.parameters(), 0.05)
        optimizer.step()
    assert len(recorder.asked) == 8
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, by_hand.state_dict()[name], rtol=1e-5, atol=1e-6)
    assert history.rows[0].train_loss == pytest.approx(sum(losses) / 8, rel=1e-5)
    assert history.rows[0].learning_rate == pytest.approx(5e-3 / 8)


def test_epoch_takes_every_example_once_in_equal_batches_and_a_new_order() -> None:
    recorder = Recorder(100)
    fit(network(), batches=recorder, max_epochs=2)
    assert [len(index) for index in recorder.asked] == [25] * 8
    first, second = [*chain(*recorder.asked[:4])], [*chain(*recorder.asked[4:])]
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second


def test_training_learns_the_series() -> None:
    model = network(dropout=0.0)
    before = validate(model)
    history = fit(model, max_epochs=30, learning_rate=2e-2, weight_decay=0.0)
    assert validate(model) == history.best_validation
    assert history.best_validation < before / 20


def test_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    models = [network() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        fit(model, seed=seed)
    assert_same_bits(weights(models[0]), weights(models[1]))
    assert not torch.equal(models[0].head.weight, models[2].head.weight)


def test_training_does_not_depend_on_the_callers_generator_nor_touch_it() -> None:
    models = [network(), network()]
    for model, seed in zip(models, (10, 11), strict=True):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        fit(model)
        assert torch.equal(torch.get_rng_state(), before)
    assert_same_bits(weights(models[0]), weights(models[1]))


def test_random_numbers_drawn_by_validation_change_nothing() -> None:
    models = [network(), network()]

    def random_validate(model: nn.Module) -> float:
        torch.rand(7)
        return validate(model)

    fit(models[0], validate_every=3, patience=None)
    fit(models[1], validate=random_validate, validate_every=3, patience=None)
    assert_same_bits(weights(models[0]), weights(models[1]))


def test_seeded_initialisation_is_repeatable_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with seeded(1):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_modes_and_gradients_are_left_as_they_were() -> None:
    model, threads = network().eval(), torch.get_num_threads()
    fit(model, num_threads=threads + 1, max_steps=1)
    assert torch.get_num_threads() == threads
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


def test_validation_sees_no_dropout_and_no_gradients() -> None:
    seen = []

    def watch(model: nn.Module) -> float:
        seen.append((model.training, torch.is_grad_enabled()))
        return 1.0

    fit(network(), validate=watch, max_epochs=2)
    assert seen == [(False, False)] * 2


def test_patience_ends_the_run_and_the_best_weights_come_back() -> None:
    script, kept = iter([5.0, 3.0, 4.0, 3.0, 2.9, 3.5, 3.1]), []

    def scripted(model: nn.Module) -> float:
        kept.append(weights(model))
        return next(script)

    model = network()
    history = fit(model, validate=scripted, max_epochs=50, patience=2, validate_every=4)
    # 3.0 at step 16 is no new best: it only ties with the one at step 8.
    assert [row.step for row in history.rows] == [4, 8, 12, 16]
    assert (history.stopped, history.best_step, history.best_validation) == ("patience", 8, 3.0)
    assert_same_bits(weights(model), kept[1])


@pytest.mark.parametrize(
    ("limits", "stopped", "step"),
    [
        ({"max_epochs": 2}, "max_epochs", 20),
        ({"max_epochs": 2, "max_steps": 13}, "max_steps", 13),
        ({"max_epochs": None, "max_steps": 13}, "max_steps", 13),
        ({"max_epochs": 2, "max_steps": 99}, "max_epochs", 20),
    ],
)
def test_first_limit_ends_the_run_with_a_validation(limits: dict[str, int | None], stopped: str, step: int) -> None:
    history = fit(network(), **limits)
    assert (history.stopped, history.rows[-1].step, history.rows[-1].epoch) == (stopped, step, step / 10)


def test_minutes_anneal_the_learning_rate_and_end_the_run() -> None:
    reports: list[Report] = []
    history = fit(
        network(), max_epochs=None, minutes=0.5 / 60, patience=None, validate_every=1, progress=reports.append
    )
    assert history.stopped == "minutes"
    assert (reports[-1].fraction, reports[-1].total_steps) == (1.0, None)
    told = [report for report in reports if report.validated]
    for before, after in pairwise(told):
        # The rate of a step is that of a moment between the reports before and after it.
        rate = after.learning_rate / 5e-3
        assert learning_rate_factor("cosine", after.fraction) <= rate <= learning_rate_factor("cosine", before.fraction)


def test_average_of_the_weights_is_what_is_validated_and_returned() -> None:
    trail: list[Tensor] = []
    model, averaged = network(), []

    def watched(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        trail.append(model.head.weight.detach().clone())
        return loss(net, batch)

    def watch(net: nn.Module) -> float:
        averaged.append(net.head.weight.clone())
        return 0.0

    limits = {"max_epochs": None, "max_steps": 12, "validate_every": 12}
    fit(model, loss=watched, validate=watch, average=0.5, **limits)
    fit(end := network(), **limits)
    trail.append(end.head.weight.detach())
    expected = trail[0].clone()
    for step, current in enumerate(trail[1:]):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * current
    torch.testing.assert_close(averaged[-1], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(model.head.weight, averaged[-1])


def test_matrices_decay_and_vectors_do_not() -> None:
    model = network()
    model.lstm.weight_hh_l0.requires_grad_(False)
    matrices, vectors = parameter_groups(model, 0.1)
    assert {id(p) for p in matrices["params"]} == {id(model.lstm.weight_ih_l0), id(model.head.weight)}
    assert {id(p) for p in vectors["params"]} == {
        id(model.lstm.bias_ih_l0), id(model.lstm.bias_hh_l0), id(model.head.bias)
    }  # fmt: skip
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)


def test_groups_scale_the_learning_rate_of_their_parameters() -> None:
    def frozen_lstm(model: nn.Module) -> list[dict[str, object]]:
        assert isinstance(model, Network)
        return [
            {"params": list(model.lstm.parameters()), "lr_scale": 0.0},
            {"params": list(model.head.parameters())},
        ]

    model, start = network(), weights(network())
    fit(model, groups=frozen_lstm, max_epochs=1)
    assert torch.equal(model.lstm.weight_hh_l0, start["lstm.weight_hh_l0"])
    assert not torch.equal(model.head.weight, start["head.weight"])


def test_loss_that_is_not_finite_names_its_step_and_keeps_the_best_weights() -> None:
    steps, kept = 0, []

    def bad_at_23(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        nonlocal steps
        steps += 1
        return loss(net, batch) * (float("nan") if steps == 23 else 1.0)

    def keep(net: nn.Module) -> float:
        kept.append(weights(net))
        return validate(net)

    model = network()
    with pytest.raises(
        DivergedError, match=r"^step 23: the loss is nan, expected a finite number; lower learning_rate"
    ):
        fit(model, loss=bad_at_23, validate=keep)
    assert len(kept) == 2
    assert_same_bits(weights(model), kept[1])


def test_gradient_that_is_not_finite_is_told_from_the_loss() -> None:
    def steep(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        # The square root is finite at zero, its slope is not.
        return (loss(net, batch) * 0).sqrt()

    with pytest.raises(DivergedError, match=r"step 1: the norm of the gradient is nan.*no weights are kept"):
        fit(network(), loss=steep)


def test_validation_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(DivergedError, match="step 10: the validation loss is inf"):
        fit(network(), validate=lambda model: float("inf"))


def test_bf16_trains_float32_weights_in_mixed_precision() -> None:
    seen = set()

    def watched(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.add(net(batch[0]).dtype)
        return loss(net, batch)

    def flat() -> nn.Module:
        with seeded(0):
            return nn.Sequential(nn.Flatten(), nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))

    model, exact = flat(), flat()
    fit(model, loss=watched, precision="bf16")
    fit(exact)
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    # bfloat16 keeps 8 bits: the two runs drift apart by its rounding, not further.
    assert validate(model) == pytest.approx(validate(exact), rel=0.05)
    assert validate(model) != validate(exact)


def test_bf16_on_a_processor_without_it_is_told_in_a_sentence() -> None:
    def unsupported(net: nn.Module, batch: object) -> Tensor:
        # What oneDNN says of an LSTM on a CPU without AVX-512; other processors would simply run it.
        raise RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive")

    with pytest.raises(SettingError, match="precision: expected float32"):
        fit(network(), loss=unsupported, precision="bf16")


@pytest.mark.parametrize(("isa", "dtype"), [("avx512bf16", torch.bfloat16), ("portable", torch.float32)])
def test_precision_is_chosen_by_what_the_processor_has(
    isa: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled.unavailable() or not dict(row[:2] for row in compiled.kernels.instruction_sets()).get(isa):
        pytest.skip(f"needs the kernels of {isa}")
    monkeypatch.setenv("CARROUSEL_ISA", isa)
    seen = set()

    def watched(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.add(net[1](batch[0].flatten(1)).dtype)
        return loss(net, batch)

    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 1), nn.Flatten(0))
    fit(model, loss=watched, precision="auto")
    assert seen == {dtype}


class Carried(nn.Module):
    """A leaky sum that carries its state from batch to batch in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.tensor([0.5]))
        self.register_buffer("state", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        state = (self.leak * self.state + x) if self.training else x
        if self.training:
            self.state = state.detach()
        return state


class Columns:
    """Four columns of six values, taken row by row."""

    def __len__(self) -> int:
        return 24

    def __call__(self, index: Tensor) -> Tensor:
        return index.float()

    def order(self, epoch: int) -> Tensor:
        return torch.arange(24)


def test_batches_with_an_order_of_their_own_carry_a_state_along() -> None:
    model, seen = Carried(), []

    def watched(net: nn.Module, batch: Tensor) -> Tensor:
        seen.append(batch.tolist())
        return net(batch).square().mean()

    fit(
        model, batches=Columns(), loss=watched, validate=lambda net: 0.0, batch_size=4, max_epochs=1, learning_rate=1e-9
    )
    assert seen == [list(range(4 * row, 4 * row + 4)) for row in range(6)]
    expected = torch.zeros(4)
    for row in seen:
        expected = 0.5 * expected + torch.tensor(row)
    torch.testing.assert_close(model.state, expected, rtol=1e-5, atol=0)


def test_batches_without_examples_are_refused() -> None:
    with pytest.raises(SettingError, match="batches: expected at least one example, got none"):
        fit(network(), batches=Windows(count=0))


def test_history_survives_json(monkeypatch) -> None:
    ticks = count()  # a clock of the test's own: what is asserted of time holds on any machine
    monkeypatch.setattr("carrousel.training.loop.time.monotonic", lambda: float(next(ticks)))
    history = fit(network(), max_epochs=2)
    assert History.from_json(json.loads(json.dumps(history.to_json()))) == history
    assert [row.step for row in history.rows] == [10, 20]
    assert history.rows[0].seconds < history.rows[1].seconds

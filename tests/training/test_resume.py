"""Checkpoints: a run that was killed goes on to the same bits; damaged and foreign ones are told in a sentence."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import learner
import pytest
import torch
from learner import Windows, assert_same_bits, loss, network, settings, validate, weights
from safetensors.torch import load_file
from torch import nn

from carrousel.errors import DivergedError, SettingError, ShapeError, VersionError, WeightsError
from carrousel.training import History, silent, train
from carrousel.training.loop import Validate


def fit(
    model: nn.Module,
    run_dir: Path,
    *,
    resume: bool = False,
    windows: int = 300,
    validate: Validate = validate,
    **changes: object,
) -> History:
    return train(
        model,
        Windows(count=windows),
        loss,
        validate,
        settings(max_epochs=3, **changes),
        run_dir=run_dir,
        resume=resume,
        checkpoint_seconds=0.0,
        progress=silent,
    )


def steps(run_dir: Path) -> list[int]:
    return sorted(int(folder.name[5:]) for folder in (run_dir / "checkpoints").glob("step-*"))


def kill(run_dir: Path, verb: str, at: int) -> None:
    """Start the run, or resume it, in a process of its own and kill that once it has passed a step."""
    process = subprocess.Popen([sys.executable, learner.__file__, verb, str(run_dir)])
    try:
        while process.poll() is None and max(steps(run_dir), default=0) < at:
            time.sleep(random.random() / 100)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"


def test_killed_and_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    first = random.randrange(5, 120)
    kill(tmp_path, "start", first)
    kill(tmp_path, "resume", first + random.randrange(5, 120))
    reached = max(steps(tmp_path))
    model, history = learner.killable(tmp_path, resume=True)
    uninterrupted, expected = learner.killable(None, resume=False)
    assert first <= reached < expected.rows[-1].step
    assert_same_bits(weights(model), weights(uninterrupted))
    timeless = [{**row, "seconds": 0} for row in history.to_json()["rows"]]
    assert timeless == [{**row, "seconds": 0} for row in expected.to_json()["rows"]]
    assert (history.best_step, history.stopped) == (expected.best_step, expected.stopped)
    clock = [row.seconds for row in history.rows]
    assert clock == sorted(clock)


class Interrupted(Exception):
    """Ends a run from within, for what needs no process of its own."""


def interrupt(run_dir: Path, at: int, *, validate: Validate = validate, **changes: object) -> None:
    done = 0

    def stopping(model: nn.Module, batch: object) -> torch.Tensor:
        nonlocal done
        done += 1
        if done > at:
            raise Interrupted
        return loss(model, batch)

    with pytest.raises(Interrupted):
        train(
            network(), Windows(), stopping, validate, settings(max_epochs=3, **changes),
            run_dir=run_dir, checkpoint_seconds=0.0, progress=silent,
        )  # fmt: skip


def test_best_weights_and_patience_of_before_the_interruption_count_after_it(tmp_path: Path) -> None:
    start = network().head.weight.detach()

    def away(model: nn.Module) -> float:
        return float((model.get_parameter("head.weight") - start).norm())

    changes = {"validate": away, "validate_every": 4, "patience": 4}
    interrupt(tmp_path / "resumed", at=14, **changes)
    model, expected = network(), network()
    history = fit(model, tmp_path / "resumed", resume=True, **changes)
    assert (history.stopped, history.best_step, history.rows[-1].step) == ("patience", 4, 20)
    fit(expected, tmp_path / "whole", **changes)
    assert_same_bits(weights(model), weights(expected))


def test_finished_run_resumes_to_its_end_without_a_step(tmp_path: Path) -> None:
    model, again = network(), network()
    history = fit(model, tmp_path)
    assert fit(again, tmp_path, resume=True) == history
    assert_same_bits(weights(again), weights(model))


def test_only_the_last_two_checkpoints_are_kept_in_formats_that_others_read(tmp_path: Path) -> None:
    interrupt(tmp_path, at=14)
    assert steps(tmp_path) == [13, 14]
    newest = tmp_path / "checkpoints" / "step-000000000014"
    assert sorted(path.name for path in newest.iterdir()) == ["state.json", "tensors.safetensors"]
    assert json.loads((newest / "state.json").read_text())["state"]["terms"]["batch_size"] == 32
    tensors = load_file(newest / "tensors.safetensors")
    assert float(tensors["optimizer/lstm.weight_hh_l0/step"]) == 14
    assert tensors["best/head.weight"].shape == tensors["model/head.weight"].shape


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-30] ^= 4
    path.write_bytes(content)


DAMAGES = [
    pytest.param(cut, "tensors.safetensors", id="cut-tensors"),
    pytest.param(flip, "tensors.safetensors", id="flipped-tensors"),
    pytest.param(cut, "state.json", id="cut-state"),
    pytest.param(flip, "state.json", id="flipped-state"),
    pytest.param(Path.unlink, "tensors.safetensors", id="missing-tensors"),
]


@pytest.mark.parametrize(("damage", "file"), DAMAGES)
def test_damaged_checkpoint_gives_way_to_the_one_before_it(damage, file: str, tmp_path: Path) -> None:
    interrupt(tmp_path, at=14)
    damage(tmp_path / "checkpoints" / "step-000000000014" / file)
    model, expected = network(), network()
    with pytest.warns(UserWarning, match=r"damaged step-000000000014 .*; resuming from step-000000000013"):
        fit(model, tmp_path, resume=True)
    fit(expected, tmp_path / "other")
    assert_same_bits(weights(model), weights(expected))


def test_run_without_any_whole_checkpoint_is_one_error(tmp_path: Path) -> None:
    interrupt(tmp_path, at=14)
    for folder in (tmp_path / "checkpoints").iterdir():
        flip(folder / "tensors.safetensors")
    with pytest.raises(
        WeightsError, match=r"expected a whole checkpoint, got damaged step-000000000014 .*digest.*start"
    ):
        fit(network(), tmp_path, resume=True)


def test_checkpoint_that_was_being_written_is_ignored_and_cleared(tmp_path: Path) -> None:
    interrupt(tmp_path, at=14)
    newest = tmp_path / "checkpoints" / "step-000000000014"
    shutil.move(newest, newest.with_name("partial-step-000000000014"))
    fit(network(), tmp_path, resume=True)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-000000000029",
        "step-000000000030",
    ]


def test_checkpoint_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    interrupt(tmp_path, at=3)
    state = tmp_path / "checkpoints" / "step-000000000003" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "format": 2}))
    with pytest.raises(VersionError, match="expected checkpoint format 1 or older, got 2; update carrousel"):
        fit(network(), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"learning_rate": 0.1}, "learning_rate: expected 0.005 as in the run in .*, got 0.1; resume with"),
        ({"average": 0.9}, "average: expected None as in the run in .*, got 0.9; resume with"),
        ({"windows": 299}, "examples: expected 300 as in the run in .*, got 299; resume with"),
    ],
)
def test_resuming_with_other_terms_names_the_difference(changes, sentence: str, tmp_path: Path) -> None:
    interrupt(tmp_path, at=3)
    with pytest.raises(SettingError, match=sentence):
        fit(network(), tmp_path, resume=True, **changes)


def test_resuming_with_another_model_names_the_tensor(tmp_path: Path) -> None:
    interrupt(tmp_path, at=3)
    other, before = network(hidden_size=9), weights(network(hidden_size=9))
    with pytest.raises(ShapeError, match=r"lstm.weight_ih_l0: expected float32 \(32, 1\) .*, got float32 \(36, 1\)"):
        fit(other, tmp_path, resume=True)
    assert_same_bits(weights(other), before)
    with pytest.raises(ShapeError, match=r"^weight: expected no such tensor .*, got float32 \(3, 3\)"):
        fit(nn.Linear(3, 3), tmp_path, resume=True)
    with pytest.raises(ShapeError, match=r"head.bias: expected float32 \(1,\) .*, got no such tensor"):
        fit(nn.ModuleDict({"lstm": nn.LSTM(1, 8)}), tmp_path, resume=True)


def test_resume_needs_a_run_and_a_new_run_needs_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"resume: expected a checkpoint in .*, got none"):
        fit(network(), tmp_path, resume=True)
    interrupt(tmp_path, at=3)
    with pytest.raises(SettingError, match=r"run_dir: expected a folder without a run, got .* with step-000000000003"):
        fit(network(), tmp_path)
    with pytest.raises(SettingError, match="resume: expected run_dir"):
        train(network(), Windows(), loss, validate, settings(), resume=True)


def test_diverged_run_leaves_its_last_finite_checkpoint(tmp_path: Path) -> None:
    done = 0

    def bad_at_13(model: nn.Module, batch: object) -> torch.Tensor:
        nonlocal done
        done += 1
        return loss(model, batch) * (float("nan") if done == 13 else 1.0)

    with pytest.raises(DivergedError, match="step 13"):
        train(
            network(), Windows(), bad_at_13, validate, settings(),
            run_dir=tmp_path, checkpoint_seconds=0.0, progress=silent,
        )  # fmt: skip
    assert steps(tmp_path) == [11, 12]

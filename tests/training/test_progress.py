"""What a user sees of a run: the bar, the lines, the TensorBoard log."""

import io
from pathlib import Path

import pytest
from learner import Windows, loss, network, settings, validate
from rich.console import Console

from carrousel.training import Bar, Report, lines, silent, train

REPORT = Report(
    step=120,
    total_steps=400,
    epoch=1.2,
    seconds=95.0,
    minutes=4.0,
    fraction=0.4,
    train_loss=0.123456,
    validation_loss=0.25,
    best=0.2,
    best_step=100,
    learning_rate=1e-3,
    steps_per_second=12.0,
    validated=True,
)
SENTENCE = (
    "epoch 1.2 · step 120/400 · loss 0.1235 · validation 0.25 (best 0.2 at step 100) · 1:35 of 4:00, 2:22 left at most"
)


def later(seconds: float) -> Report:
    return Report(**{**vars(REPORT), "seconds": seconds})


def test_lines_say_one_sentence_a_validation(capsys: pytest.CaptureFixture[str]) -> None:
    lines(REPORT)
    lines(Report(**{**vars(REPORT), "validated": False}))
    assert capsys.readouterr().err == SENTENCE + "\n"


def test_bar_appears_on_a_terminal_after_two_seconds() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200)
    with Bar("Training", console) as bar:
        bar(later(94.0))
        bar(later(95.5))
        assert screen.getvalue() == ""
        bar(later(96.0))
        assert "Training" in screen.getvalue()
        assert "validation 0.25 (best 0.2 at step 100) · 1:36 of 4:00" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[?25h"), "the cursor is not shown again"


def test_bar_is_silent_where_there_is_no_terminal() -> None:
    screen = io.StringIO()
    with Bar("Training", Console(file=screen, force_terminal=False)) as bar:
        bar(later(0.0))
        bar(later(99.0))
    assert screen.getvalue() == ""


def test_training_is_silent_without_a_terminal_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    train(network(), Windows(), loss, validate, settings(max_epochs=2))
    assert capsys.readouterr() == ("", "")
    train(network(), Windows(), loss, validate, settings(max_epochs=2), progress=lines)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_hook_is_told_of_every_validation() -> None:
    reports: list[Report] = []
    history = train(network(), Windows(), loss, validate, settings(max_epochs=3), progress=reports.append)
    told = [report for report in reports if report.validated]
    assert [(r.step, r.epoch, r.fraction) for r in told] == [(10, 1.0, 1 / 3), (20, 2.0, 2 / 3), (30, 3.0, 1.0)]
    assert [r.validation_loss for r in told] == [row.validation_loss for row in history.rows]
    assert told[-1].best == history.best_validation


def test_log_holds_what_the_history_holds(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = train(
        network(),
        Windows(),
        loss,
        validate,
        settings(max_epochs=4, validate_every=16),
        log_dir=tmp_path,
        progress=silent,
    )
    events = EventAccumulator(str(tmp_path)).Reload()
    curves = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert sorted(curves) == ["gradient_norm", "learning_rate", "loss/train", "loss/validation", "steps_per_second"]
    assert curves["loss/validation"] == [(row.step, pytest.approx(row.validation_loss)) for row in history.rows]
    full = history.rows[:2]
    assert curves["loss/train"] == [(row.step, pytest.approx(row.train_loss)) for row in full]
    assert curves["learning_rate"] == [(row.step, pytest.approx(row.learning_rate)) for row in full]
    assert all(value > 0 for _, value in curves["gradient_norm"] + curves["steps_per_second"])

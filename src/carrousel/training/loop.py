"""The one training loop: any network, any batches cut by index, any loss; on one device or several processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, parse_flag_from_env, reduce
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from carrousel.errors import DivergedError, SettingError
from carrousel.training.batch import Batches, Plan, seed_step, seeded
from carrousel.training.checkpoint import Checkpoints
from carrousel.training.history import History, Row, Stopped
from carrousel.training.log import CurveLog
from carrousel.training.optimizer import Groups, clip_gradients, make_optimizer, parameter_groups
from carrousel.training.precision import is_mixed
from carrousel.training.progress import Bar, Progress, Report
from carrousel.training.schedule import learning_rate_factor
from carrousel.training.settings import TrainingSettings
from carrousel.training.state import TrainingState

Loss = Callable[[nn.Module, Any], Tensor]
Validate = Callable[[nn.Module], float]

# Reading a loss waits for the accelerator and, in several processes, for the others: many are read at once.
STEPS_PER_READ = 16
SECONDS_PER_REPORT = 0.25


def device() -> torch.device:
    """Where this process should train: accelerate's choice. Put the model and the arrays of its batches there."""
    return cast(torch.device, _world().device)


def _world() -> PartialState:
    # PartialState, not Accelerator: the latter replaces the model's forward and marks the model, and so changes what
    # the caller trains a second time, copies or saves. It joins several processes on CPUs only when told cpu=True.
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())


def train(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    validate: Validate,
    settings: TrainingSettings,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    log_dir: Path | None = None,
    progress: Progress | None = None,
    groups: Groups | None = None,
    checkpoint_seconds: float = 60.0,
) -> History:
    """Train a network in place and leave the best validated weights in it.

    The same model, batches and settings give the same weights bit for bit, on one machine with one number of threads,
    and so does a run that was killed and resumed; not where ``minutes`` is set. Started by ``accelerate launch`` or
    ``torchrun``, the processes share every batch.

    Parameters
    ----------
    model : trained where it lies, see ``device``
    batches : examples by index
    loss : (model, batch) -> mean over the examples of the batch, a scalar tensor. It must call the model itself,
        not its methods: in several processes it is handed a wrapper
    validate : model -> a number, the smaller the better. Called in eval mode without gradients, on the main process
    run_dir : folder for checkpoints, written every ``checkpoint_seconds``. None: no checkpoints
    resume : go on from the checkpoint in ``run_dir``
    log_dir : folder for a TensorBoard log. None: no log
    progress : called about four times a second and after each validation. None: a bar where stderr is a terminal
    groups : model -> parameter groups of the optimiser, each may carry ``lr_scale`` and ``begin``. None:
        ``parameter_groups``, which says what these are

    Returns
    -------
    History : one row a validation, and why the run stopped

    Raises
    ------
    DivergedError : a loss or gradient that is not finite; the model then holds the best weights so far, if any
    SettingError : resuming with other settings, or ``run_dir`` at odds with ``resume``
    ShapeError : resuming with another model
    WeightsError : resuming from a folder whose checkpoints are all damaged
    """
    if resume and run_dir is None:
        raise SettingError("resume: expected run_dir, the folder of the run to resume, got None")
    place = next(model.parameters()).device
    training = model.training
    with ExitStack() as stack:
        stack.enter_context(_threads(settings.num_threads))
        stack.enter_context(seeded(settings.seed, place))
        stack.callback(model.train, training)
        run = _Run(model, batches, loss, validate, settings, groups)
        checkpoints = Checkpoints(run_dir, resume=resume) if run_dir is not None else None
        if checkpoints is not None and resume:
            run.state.restore(*checkpoints.read(), checkpoints.folder)
        # Nobody writes before everybody has read.
        run.world.wait_for_everyone()
        if run.world.is_main_process:
            run.checkpoints, run.checkpoint_seconds = checkpoints, checkpoint_seconds
            run.progress = progress or stack.enter_context(Bar())
            if log_dir is not None:
                run.log = CurveLog(log_dir, run.state.step)
                stack.callback(run.log.close)
        run.to_the_end()
    return run.state.history


@contextmanager
def _threads(count: int | None) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Run:
    """One process's part of a run."""

    progress: Progress | None = None
    log: CurveLog | None = None
    checkpoints: Checkpoints | None = None
    checkpoint_seconds: float = math.inf

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        loss: Loss,
        validate: Validate,
        settings: TrainingSettings,
        groups: Groups | None,
    ) -> None:
        self.world = _world()
        self.alone = self.world.num_processes == 1
        self.batches, self.loss, self.validate, self.settings = batches, loss, validate, settings
        self.device = next(model.parameters()).device
        self.plan = Plan(
            batches,
            settings.batch_size,
            settings.seed,
            self.world.process_index,
            self.world.num_processes,
            self.device,
        )
        epoch_steps = self.plan.steps_per_epoch
        limits = [settings.max_steps, settings.max_epochs and settings.max_epochs * epoch_steps]
        self.total_steps = min((limit for limit in limits if limit is not None), default=None)
        self.validate_every = settings.validate_every or epoch_steps
        chosen = groups(model) if groups else parameter_groups(model, settings.weight_decay)
        self.optimizer = make_optimizer(chosen, settings.learning_rate, settings.optimizer)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.network: nn.Module = model
        if not self.alone:
            ids = [self.device] if self.device.type != "cpu" else None
            self.network = DistributedDataParallel(model, device_ids=ids)
        self.state = TrainingState(
            model,
            self.optimizer,
            settings,
            examples=self.plan.examples,
            processes=self.world.num_processes,
        )
        # Loss, gradient norm, loss, gradient norm ... of the last steps, still on the device, each a scalar.
        self.unread: list[Tensor] = []
        self.precision = self.autocast if is_mixed(settings.precision, self.device) else nullcontext
        self.learning_rate = settings.learning_rate
        self.train_loss: float | None = None
        self.validation_seconds = 0.0
        self.first_step = 0
        self.began = self.reported = self.saved = time.monotonic()

    def to_the_end(self) -> None:
        """Train until a limit is reached."""
        state = self.state
        self.first_step = state.step
        self.began = self.reported = self.saved = time.monotonic()
        if self.checkpoints is not None and not self.checkpoints.found():
            self.save()
        self.network.train()
        while state.history.stopped is None:
            self.advance()
            stopped = self.limit()
            validating = stopped is not None or state.step % self.validate_every == 0
            if validating or state.step % STEPS_PER_READ == 0:
                self.read()
            if validating:
                self.validate_candidate()
                if state.stale_validations == self.settings.patience:
                    stopped = stopped or "patience"
                self.network.train()
            state.history.stopped = stopped
            now = time.monotonic()
            if validating or now - self.reported >= SECONDS_PER_REPORT:
                self.report(validated=validating)
            # Several processes can only read together: the main one waits for that.
            if stopped or (now - self.saved >= self.checkpoint_seconds and (self.alone or not self.unread)):
                self.read()
                self.save()
        state.take_best()

    def advance(self) -> None:
        """One optimiser step."""
        settings, fraction = self.settings, self.fraction()
        self.learning_rate = settings.learning_rate * learning_rate_factor(settings.schedule, fraction, settings.warmup)
        for group in self.optimizer.param_groups:
            begin = group["begin"]
            own = (fraction - begin) / (1 - begin) if begin else fraction
            factor = learning_rate_factor(settings.schedule, max(0.0, own), settings.warmup)
            group["lr"] = settings.learning_rate * factor * group["lr_scale"]
        index, weight, seed = self.plan[self.state.step]
        seed_step(seed, self.device)
        batch = self.batches(index)
        with self.precision():
            value = self.loss(self.network, batch)
        if weight != 1:
            value = value * weight
        value.backward()
        for group in self.optimizer.param_groups:
            if fraction < group["begin"]:  # without a gradient the optimiser leaves weights and their moments alone
                for parameter in group["params"]:
                    parameter.grad = None
        norm = clip_gradients(self.parameters, settings.clip_norm)
        self.optimizer.step()
        # What optimizer.zero_grad() does, without its bookkeeping.
        for parameter in self.parameters:
            parameter.grad = None
        if self.state.average is not None:
            self.state.average.update(self.state.step)
        self.unread += (value.detach(), norm)
        self.state.step += 1

    @contextmanager
    def autocast(self) -> Generator[None]:
        """Mixed precision, or a sentence where the processor lacks it (oneDNN's LSTM on a CPU without AVX-512)."""
        try:
            with torch.autocast(self.device.type, torch.bfloat16):
                yield
        except RuntimeError as error:
            if "could not create a primitive" not in str(error):
                raise
            raise SettingError(
                "precision: expected float32, since this processor cannot run the network in bf16, got 'bf16'"
            ) from error

    def read(self) -> None:
        """Fetch the losses and gradient norms of the last steps from the device, and see that they are finite."""
        if not self.unread:
            return
        table = torch.stack([value.float() for value in self.unread]).view(-1, 2)
        if not self.alone:
            table = cast(Tensor, reduce(table, "mean"))
        first = self.state.step - len(table) + 1
        self.unread.clear()
        for step, (loss, norm) in enumerate(table.tolist(), start=first):
            for what, value in (("loss", loss), ("norm of the gradient", norm)):
                if not math.isfinite(value):
                    self.diverge(f"step {step}: the {what} is {value}")
            self.state.loss_sum += loss
            self.state.loss_count += 1
            self.train_loss = loss
            if self.log is not None:
                self.log.add_step(step, loss, norm, self.learning_rate, self.steps_per_second())

    def validate_candidate(self) -> None:
        """Validate, add a row to the history, and keep the weights if they are the best."""
        state, history = self.state, self.state.history
        start = time.monotonic()
        value = math.nan
        if self.world.is_main_process:
            state.candidate.eval()
            with torch.no_grad():
                value = float(self.validate(state.candidate))
        value = self.agree(value)
        # The longest so far: the share of the budget that is over must not shrink.
        self.validation_seconds = max(self.validation_seconds, time.monotonic() - start)
        if not math.isfinite(value):
            self.diverge(f"step {state.step}: the validation loss is {value}")
        history.rows.append(
            Row(
                step=state.step,
                epoch=state.step / self.plan.steps_per_epoch,
                seconds=self.seconds(),
                train_loss=state.loss_sum / state.loss_count,
                validation_loss=value,
                learning_rate=self.learning_rate,
            )
        )
        state.loss_sum, state.loss_count = 0.0, 0
        state.stale_validations += 1
        if history.best_validation is None or value < history.best_validation:
            history.best_step, history.best_validation, state.stale_validations = state.step, value, 0
            state.keep_best()
        state.average_if_stalled()
        if self.log is not None:
            self.log.add_validation(state.step, value)

    def diverge(self, problem: str) -> NoReturn:
        """Give up, with the best weights so far in the model."""
        kept = "nothing was validated before, so no weights are kept"
        if self.state.take_best():
            kept = f"the model holds the best weights so far, of step {self.state.history.best_step}"
        raise DivergedError(
            f"{problem}, expected a finite number; lower learning_rate (it was {self.learning_rate:.3g}) or clip_norm "
            f"({self.settings.clip_norm}), or look for missing and huge values in the data; {kept}"
        )

    def save(self) -> None:
        """Write a checkpoint, where there is a folder for it."""
        if self.checkpoints is not None:
            self.checkpoints.write(self.state.step, self.state.tensors(), self.state.record(self.seconds()))
            self.saved = time.monotonic()

    def agree(self, value: float) -> float:
        """The main process's number, in every process."""
        if self.alone:
            return value
        # accelerate's processes never run on the one kind of device that has no float64 (mps).
        return float(cast(Tensor, broadcast(torch.tensor(value, dtype=torch.float64, device=self.device))))

    def seconds(self) -> float:
        """Spent on the run so far, before it was resumed too."""
        return self.state.seconds + time.monotonic() - self.began

    def share_of_minutes(self) -> float:
        """Share of the budget that is over; time for the closing validation is set aside."""
        if self.settings.minutes is None:
            return 0.0
        return self.seconds() / max(60 * self.settings.minutes - self.validation_seconds, 1e-9)

    def share_of_steps(self) -> float:
        """Share of the steps that are over."""
        return self.state.step / self.total_steps if self.total_steps else 0.0

    def fraction(self) -> float:
        """Share of the run that is over, the same in every process."""
        share = self.share_of_minutes()
        return min(1.0, max(self.share_of_steps(), share if self.settings.minutes is None else self.agree(share)))

    def limit(self) -> Stopped | None:
        """The limit that is reached, the same in every process."""
        if self.state.step == self.settings.max_steps:
            return "max_steps"
        if self.state.step == self.total_steps:
            return "max_epochs"
        if self.settings.minutes is not None and self.agree(self.share_of_minutes()) >= 1:
            return "minutes"
        return None

    def steps_per_second(self) -> float:
        """Mean since this process began to train."""
        return (self.state.step - self.first_step) / max(time.monotonic() - self.began, 1e-9)

    def report(self, *, validated: bool) -> None:
        """Tell the user, in the main process."""
        self.reported = time.monotonic()
        if self.progress is None:
            return
        if self.alone:
            self.read()
        rows, history = self.state.history.rows, self.state.history
        self.progress(
            Report(
                step=self.state.step,
                total_steps=self.total_steps,
                epoch=self.state.step / self.plan.steps_per_epoch,
                seconds=self.seconds(),
                minutes=self.settings.minutes,
                fraction=min(1.0, max(self.share_of_steps(), self.share_of_minutes())),
                train_loss=self.train_loss,
                validation_loss=rows[-1].validation_loss if rows else None,
                best=history.best_validation,
                best_step=history.best_step,
                learning_rate=self.learning_rate,
                steps_per_second=self.steps_per_second(),
                validated=validated,
            )
        )

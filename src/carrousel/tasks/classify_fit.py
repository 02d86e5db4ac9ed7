"""Training of a classifier: the only part of it that needs PyTorch."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from carrousel.features.classify import ClassifySizes
from carrousel.layers.augment import jittered, scaled, warped
from carrousel.layers.classify import ClassifyLSTM
from carrousel.tasks.classify_part import NONE, Batch, Part, outputs
from carrousel.tasks.classify_setting import ClassifySettings
from carrousel.training import History, Report, TrainingSettings, begun, device, seeded, train

Index = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
FOLDS = 5
PIECE = 256  # steps of a sequence that are trained on at once, where every step has a class
SMALL, LARGE = 16, 32  # examples a batch; the smaller below MANY examples
MANY = 1000
EPOCHS, LEAST_STEPS = 12, 600
VALIDATIONS = 20  # of a training whose end is known
RARE = 2  # occurrences from which a word has a vector, as in `Words.learn`


class Trained(NamedTuple):
    """Weights of all members; logits (M, C) and truths (M,) of the parts they held out; the training curves.

    ``rows`` says which examples those are, (M,), some of them twice; None where every step has a class.
    """

    weights: dict[str, npt.NDArray[np.float32]]
    logits: Floats
    truth: Index
    rows: Index | None
    histories: list[History]


def pieces(lengths: Sequence[int], length: int = PIECE) -> list[tuple[int, int, int]]:
    """Long sequences in parts of nearly equal length: (sequence, first step, step behind the last)."""
    found: list[tuple[int, int, int]] = []
    for sequence, steps in enumerate(lengths):
        borders = np.linspace(0, steps, -(-steps // length) + 1).astype(int).tolist()
        found += [(sequence, first, last) for first, last in itertools.pairwise(borders)]
    return found


def stratified(target: Index, folds: int, seed: int) -> Index:
    """A fold for each example, int64 (N,), each with its share of every class; −1, never held out, of a lone one."""
    random = np.random.default_rng([seed, 0])
    found = np.full(len(target), -1, np.int64)
    begin = 0
    for label in np.unique(target):
        rows = random.permutation(np.flatnonzero(target == label))
        if len(rows) > 1:
            # Each class begins where the last one ended, so that small classes do not all fall into the first fold.
            found[rows] = (begin + np.arange(len(rows))) % folds
            begin += len(rows)
    return found


def held_out_by(member: int, target: Index, fold: Index) -> Index:
    """Examples that a network holds out, a fifth of them.

    Of many examples half are never held out and the others by two networks each, which shows how much surer the mean of
    several may be than one alone; of fewer, all are once.

    Parameters
    ----------
    fold : as `stratified` with 2·FOLDS made it
    """
    k = member % FOLDS
    folds = (k, (k + 1) % FOLDS) if len(target) >= MANY else (k, k + FOLDS)
    return np.flatnonzero(np.isin(fold, folds))


def known_words(part: Part, words: int) -> Tensor:
    """What a network reads words as, int64 (V,): as the unknown one those that its part has less than ``RARE`` times.

    Else words that only the held-out part has would be read as vectors that no training has touched, which happens to
    no word of other texts: what was held out would look harder than they are.
    """
    counts = part.words(words)
    return torch.where(counts >= RARE, torch.arange(words, device=counts.device), 0)


def blocks(owner: Index, folds: int, seed: int) -> Index:
    """A fold for each piece: whole sequences where there are as many as folds, else neighbouring pieces together."""
    count = int(owner.max()) + 1
    if count >= folds:
        return (np.random.default_rng([seed, 0]).permutation(count) % folds)[owner]
    return np.arange(len(owner)) * folds // len(owner)


def fit_classifier(
    inputs: Sequence[npt.NDArray[np.generic]],
    targets: Index | Sequence[Index],
    sizes: ClassifySizes,
    settings: ClassifySettings,
    *,
    variables: int = 0,
    run_dir: Path | None = None,
    resume: bool = False,
    log_dir: Path | None = None,
    progress: Callable[[Report], None] | None = None,
) -> Trained:
    """Train every member on four fifths of the examples, and keep the weights that are best on the last fifth.

    Parameters
    ----------
    inputs : of each sequence, int64 (L,) or float32 (L, K)
    targets : the class of each sequence, int64 (N,); or of each step, N of int64 (L,)
    variables : how many of the K inputs are values, which come first
    """
    s, place, began = settings, device(), time.monotonic()
    if sizes.steps:
        cuts = pieces([len(sequence) for sequence in inputs])
        target = np.concatenate([targets[k][a:b] for k, a, b in cuts])
        inputs = [inputs[k][a:b] for k, a, b in cuts]
        fold = blocks(np.array([k for k, _, _ in cuts]), FOLDS, s.seed)
    else:
        target = np.asarray(targets, np.int64)
        fold = stratified(target, 2 * FOLDS, s.seed)
    every = Part.of(inputs, target, steps=sizes.steps, device=place)
    counts = np.bincount(target, minlength=sizes.classes)
    weight = torch.as_tensor(counts.sum() / (sizes.classes * np.maximum(counts, 1)), dtype=torch.float32, device=place)

    def loss_of(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
        return cross_entropy(
            logits.flatten(0, -2), target.flatten(), weight=weight if s.balanced else None, ignore_index=NONE,
            label_smoothing=smoothing,
        )  # fmt: skip

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        x = batch.x if sizes.kind == "text" else _varied(batch, variables, s)
        return loss_of(model(x, batch.lengths), batch.target, s.label_smoothing)

    weights: dict[str, npt.NDArray[np.float32]] = {}
    logits: list[Floats] = []
    truth: list[Index] = []
    judged: list[Index] = []
    histories: list[History] = []
    for member in range(sizes.members):
        with seeded(s.seed * sizes.members + member):
            model = ClassifyLSTM(
                sizes, dropout=s.dropout, embedding_dropout=s.embedding_dropout,
                variational_dropout=s.variational_dropout,
            ).to(place)  # fmt: skip
        held = np.flatnonzero(fold == member % FOLDS) if sizes.steps else held_out_by(member, target, fold)
        others = np.setdiff1d(np.arange(len(fold)), held)
        held_out, trained = every.some(held), every.some(others)
        if sizes.kind == "text":
            ids = known_words(trained, sizes.inputs)
            held_out, trained = replace(held_out, ids=ids), replace(trained, ids=ids)

        def validate(model: nn.Module, held_out: Part = held_out) -> float:
            z, t = outputs(model, held_out)
            return float(loss_of(z, t, 0.0))

        folder = f"member_{member}"
        histories.append(
            train(
                model, trained, loss, validate, _limits(s, len(trained), sizes.members, member),
                run_dir=run_dir / folder if run_dir else None,
                resume=resume and (member == 0 or run_dir is None or begun(run_dir / folder)),
                log_dir=log_dir / folder if log_dir else None,
                progress=None if progress is None else _whole(progress, member, s, sizes.members, began),
            )
        )  # fmt: skip
        if held_out.ids is not None:  # the engine knows one vocabulary for all networks
            model.share(held_out.ids)
        if member < FOLDS:  # a second network without the same fold would count its examples twice
            model.eval()
            with torch.no_grad():
                z, t = outputs(model, held_out)
            logits.append(z.double().cpu().numpy())
            truth.append(t.cpu().numpy())
            judged.append(held_out.members.cpu().numpy())
        weights |= {name: tensor.cpu().numpy().copy() for name, tensor in model.tensors(member).items()}
    return Trained(
        weights,
        np.concatenate(logits),
        np.concatenate(truth),
        None if sizes.steps else np.concatenate(judged),
        histories,
    )


def _varied(batch: Batch, variables: int, s: ClassifySettings) -> Tensor:
    """The sequences of numbers as they might have been."""
    x = batch.x
    if s.warping and not s.steps:  # classes of steps would have to move along
        x = warped(x, batch.lengths, s.warping)
    if s.scaling:
        x = scaled(x, variables, s.scaling)
    return jittered(x, variables, s.jitter) if s.jitter else x


def _limits(s: ClassifySettings, examples: int, members: int, member: int) -> TrainingSettings:
    batch = min(examples, s.batch_size or (SMALL if examples < MANY else LARGE))
    epoch = -(-examples // batch)
    steps = s.max_steps or (None if s.max_epochs else max(LEAST_STEPS, EPOCHS * epoch))
    known = [n for n in (steps, s.max_epochs and s.max_epochs * epoch) if n]
    return TrainingSettings(
        max_epochs=s.max_epochs,
        max_steps=steps,
        minutes=None if s.minutes is None else s.minutes / members,
        batch_size=batch,
        learning_rate=s.learning_rate,
        weight_decay=s.weight_decay,
        schedule="one_cycle",
        warmup=0.1,
        patience=None,
        validate_every=max(1, min(known) // VALIDATIONS),
        average=0.99,
        seed=s.seed * members + member,
    )


def _whole(
    progress: Callable[[Report], None], member: int, s: ClassifySettings, members: int, began: float
) -> Callable[[Report], None]:
    """One bar for all members: time and share of the whole."""

    def show(report: Report) -> None:
        share = (member + report.fraction) / members
        progress(replace(report, fraction=share, seconds=time.monotonic() - began, minutes=s.minutes))

    return show

"""Classification: from labelled sequences to a trained model that says what others are, and how sure it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel import load
from carrousel.artifact import Artifact, save
from carrousel.config import from_dict, to_dict
from carrousel.data.sequence import Roles, Sequences, of_arrays, read_sequences
from carrousel.engine import Dtype, check_dtype
from carrousel.errors import ConfigError, DataError, NotTrainedError, SettingError, require
from carrousel.features.classify import ClassifySizes, Scaler
from carrousel.features.word import FILE, Words
from carrousel.heads.temperature import fit_ensemble, softmax
from carrousel.metrics import classify as metric
from carrousel.tasks.classify_baseline import (
    baseline_name,
    baseline_probabilities,
    learn_baseline,
    majority,
)
from carrousel.tasks.classify_card import classify_card
from carrousel.tasks.classify_evaluate import MAJORITY, OWN, ClassifyEvaluation
from carrousel.tasks.classify_fitted import FittedClassifier
from carrousel.tasks.classify_likeness import checked_context, learn_likeness
from carrousel.tasks.classify_setting import ClassifyLearned, ClassifySettings
from carrousel.tasks.classify_stream import ClassifyStream

if TYPE_CHECKING:
    from carrousel.training import History, Report

LEAST = 5  # examples
SHOWN = 200  # characters of a text by which it is called
_LOG = logging.getLogger("carrousel")


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Classes and their probabilities.

    Parameters
    ----------
    classes : all of them, (C,)
    labels : the most probable one of each example, (M,)
    probabilities : float64 (M, C); each row sums to 1
    starts : int64 (N + 1,) where the examples of each sequence begin: each has one, or as many as steps
    names : of the N sequences
    rows : where each example stood in the table it came from; None where it came from none
    """

    classes: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    probabilities: npt.NDArray[np.float64]
    starts: npt.NDArray[np.int64]
    names: tuple[str, ...]
    rows: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def frame(self) -> dict[str, npt.NDArray[Any]]:
        """Columns: sequence, label, probability, and p_… of every class; steps in the order of their table."""
        owner = np.repeat(np.array(self.names, object), np.diff(self.starts))
        columns = {"sequence": owner, "label": self.labels, "probability": self.probabilities.max(1)}
        columns |= {f"p_{name}": self.probabilities[:, k] for k, name in enumerate(self.classes.tolist())}
        if self.rows is None:
            return columns
        order = np.argsort(self.rows)
        return {name: column[order] for name, column in columns.items()}


class Classifier:
    """A classifier of texts, or of sequences of numbers, with probabilities that mean what they say.

    Takes the fields of ``ClassifySettings`` by keyword.

    Examples
    --------
    >>> texts = ["who wrote it ?", "where is it ?", "who is she ?", "where was he ?"] * 5
    >>> model = Classifier(hidden_size=8, ensemble=1, max_steps=30).fit(texts, ["person", "place"] * 10)
    >>> model.predict(["who was it ?"]).labels.tolist()
    ['person']

    Raises
    ------
    SettingError : an unknown setting, or one outside its range
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = from_dict(ClassifySettings, settings, where="Classifier", error=SettingError)
        self.histories: list[History] = []
        self._fitted: FittedClassifier | None = None

    @property
    def fitted(self) -> FittedClassifier:
        """The trained model.

        Raises
        ------
        NotTrainedError
        """
        if self._fitted is None:
            raise NotTrainedError("Classifier: expected a trained model, got none yet; call fit, or carrousel.load")
        return self._fitted

    @property
    def classes(self) -> npt.NDArray[Any]:
        """The classes, sorted: int64, or object of str; (C,)."""
        return self.fitted.answers

    @property
    def num_parameters(self) -> int:
        """Trained numbers, of all networks together."""
        return sum(array.size for array in self.fitted.weights.values())

    def fit(
        self,
        sequences: Any,
        labels: Any = None,
        *,
        run_dir: str | Path | None = None,
        resume: bool = False,
        log_dir: str | Path | None = None,
        progress: Callable[[Report], None] | None = None,
    ) -> Classifier:
        """Train on sequences whose classes are known.

        Each network of the ensemble is trained on four fifths of them; the last fifth, another one for each, keeps its
        best weights. All that was held out gives the temperature.

        Parameters
        ----------
        sequences : texts, or arrays (L,) or (L, K) with NaN for what is missing, or one array (N, L) or (N, L, K);
            without labels: a table as a frame or a dict of columns, or the path of a table, of a ``.ts`` file, or of a
            folder with a folder for each class
        labels : texts or whole numbers, (N,); with ``steps=True`` of each step, N of (L,)
        run_dir : folder of checkpoints; with ``resume`` an interrupted fit goes on from there
        log_dir : folder of TensorBoard logs
        progress : called several times a second; None draws a bar on a terminal

        Raises
        ------
        DataError : what is missing, empty or at odds, and where
        """
        require("torch", extra="train", purpose="fit")
        from carrousel.tasks.classify_fit import fit_classifier  # the only way to torch

        began = time.perf_counter()
        s = self.settings
        found = self._read(sequences, labels, labelled=True)
        assert found.labels is not None
        names, whole = _classes(found)
        codes = {name: k for k, name in enumerate(names)}
        if s.steps:
            target: Any = [np.array([codes[str(v)] for v in each], np.int64) for each in found.labels]
            counts = np.bincount(np.concatenate(target), minlength=len(names))
        else:
            target = np.array([codes[str(v)] for v in found.labels], np.int64)
            counts = np.bincount(target, minlength=len(names))
        _check(found, names, counts)
        words = Words.learn(found.texts, size=s.vocabulary) if found.kind == "text" else None
        scaler = None if found.kind == "text" else Scaler.learn(found.values)
        sizes = ClassifySizes(
            kind=found.kind,
            inputs=words.size if words is not None else scaler.width if scaler is not None else 0,
            window=1 if found.kind == "text" else s.window,
            embedding_size=s.embedding_size or s.hidden_size,
            hidden_size=s.hidden_size,
            num_layers=s.num_layers,
            bidirectional=not s.steps if s.bidirectional is None else s.bidirectional,
            classes=len(names),
            steps=s.steps,
            members=s.ensemble,
        )
        roles = {key: value for key, value in to_dict(found.roles).items() if isinstance(value, str)}
        learned = ClassifyLearned(
            labels=names, whole=whole, counts=tuple(counts.tolist()), variables=found.variables, columns=roles,
            sequences=len(found), seconds=0.0, steps=0, temperature=1.0, held_out=0, accuracy=0.0, log_loss=0.0,
            calibration_error=0.0, uncalibrated=0.0,
        )  # fmt: skip
        blank = FittedClassifier(sizes=sizes, learned=learned, weights={}, words=words, scaler=scaler)
        trained = fit_classifier(
            blank.inputs(found), target, sizes, s, variables=len(found.variables), run_dir=_path(run_dir),
            resume=resume, log_dir=_path(log_dir), progress=progress,
        )  # fmt: skip
        self.histories = trained.histories
        context = learn_baseline(found, target, len(names), scaler)
        judges, arrays = [trained.logits], {}
        if trained.rows is not None and scaler is not None and sizes.bidirectional and s.likeness and not s.balanced:
            arrays, alike = learn_likeness(blank.inputs(found), target, len(names))
            judges.append(alike[trained.rows])
        rows = np.arange(len(trained.truth)) if trained.rows is None else trained.rows
        weights, single = fit_ensemble(judges, trained.truth, rows, s.ensemble)
        likeness = float(weights[1]) if arrays else 0.0
        if likeness:
            context |= arrays
        # What was held out was judged by single networks, and is scored with their weights.
        p, raw = softmax(np.tensordot(single, judges, 1)), softmax(trained.logits)
        learned = replace(
            learned,
            seconds=time.perf_counter() - began,
            steps=sum(history.rows[-1].step for history in trained.histories),
            temperature=1 / float(weights[0]),
            likeness=likeness,
            held_out=len(trained.truth),
            accuracy=metric.accuracy(trained.truth, p.argmax(1)),
            log_loss=metric.log_loss(trained.truth, p),
            calibration_error=metric.calibration_error(trained.truth, p),
            uncalibrated=metric.calibration_error(trained.truth, raw),
        )
        self._fitted = FittedClassifier(
            sizes=sizes, learned=learned, weights=trained.weights, words=words, scaler=scaler, context=context
        )
        return self

    def predict(self, sequences: Any) -> Prediction:
        """What sequences are.

        Parameters
        ----------
        sequences : as in ``fit``, without labels; a table needs no column of them. A single text may be given as it is

        Raises
        ------
        DataError : what is missing, empty or at odds, and where
        """
        found = self._read(sequences, None, labelled=False)
        fitted = self.fitted
        scores = fitted.scores(fitted.inputs(found))
        p = softmax(np.concatenate(scores))
        return Prediction(
            classes=fitted.answers,
            labels=fitted.answers[p.argmax(1)],
            probabilities=p,
            starts=np.concatenate([[0], np.cumsum([len(z) for z in scores])]).astype(np.int64),
            names=found.names,
            rows=np.concatenate(found.rows) if fitted.sizes.steps and found.rows else None,
        )

    def evaluate(self, sequences: Any, labels: Any = None) -> ClassifyEvaluation:
        """Score the model on sequences whose classes are known, beside baselines of the same training part.

        Parameters
        ----------
        sequences, labels : as in ``fit``

        Raises
        ------
        DataError : as ``fit``; a class that there was none of in training
        """
        found = self._read(sequences, labels, labelled=True)
        fitted = self.fitted
        assert found.labels is not None
        steps = fitted.sizes.steps
        flat = [label for each in found.labels for label in each] if steps else list(found.labels)
        truth = fitted.codes(flat)
        inputs = fitted.inputs(found)
        logits = fitted.logits(inputs)
        classes = len(fitted.learned.labels)
        told = found.texts if found.kind == "text" else found.names
        names = [name if len(name) <= SHOWN else f"{name[:SHOWN]}…" for name in told]
        if steps:
            names = [
                f"{name}, step {t + 1}" for name, v in zip(names, found.values, strict=True) for t in range(len(v))
            ]
        name = baseline_name(found.kind, steps)
        return ClassifyEvaluation(
            classes=fitted.learned.labels,
            truth=truth,
            probabilities={
                OWN: softmax(np.concatenate(fitted.scores(inputs, logits))),
                name: baseline_probabilities(fitted.context, found, classes, fitted.scaler),
                MAJORITY: majority(fitted.learned.counts, len(truth)),
            },
            uncalibrated=metric.calibration_error(truth, softmax(np.concatenate(logits))),
            names=tuple(names),
        )

    def stream(self) -> ClassifyStream:
        """A sequence that comes sample by sample, or a text piece by piece, and what it is by what has come."""
        return ClassifyStream(self.fitted)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model as a folder: config.json, model.safetensors, context.safetensors, tokenizer.json, a card.

        ``context.safetensors`` holds what the baseline learnt: counts of hashed word pairs, or training sequences.

        Raises
        ------
        ArtifactError : the folder exists (and `overwrite` is False), is something else, or cannot be written
        """
        fitted = self.fitted
        settings = to_dict(self.settings)
        statistics: dict[str, Any] = {"sizes": to_dict(fitted.sizes), "learned": to_dict(fitted.learned)}
        if fitted.scaler is not None:
            statistics["scaler"] = to_dict(fitted.scaler)
        artifact = Artifact(
            task="classify",
            architecture=fitted.sizes.architecture(),
            weights=fitted.weights,
            settings=settings,
            statistics=statistics,
            context=fitted.context,
            card=classify_card(fitted, settings),
            extras={} if fitted.words is None else {FILE: fitted.words.to_json()},
            model_class="CarrouselForSequenceClassification" if fitted.words else "CarrouselClassifier",
        )
        return save(Path(path), artifact, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Classifier:
        """Read a saved model, as ``carrousel.load`` does."""
        return load(path)

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, dtype: Dtype = "float32") -> Classifier:
        """The model of an artifact, its weights stored as ``dtype``.

        Raises
        ------
        ArtifactError : settings, statistics, words or arrays that do not fit each other
        """
        where = "config.json: statistics"
        settings = from_dict(ClassifySettings, artifact.settings, where="config.json: settings")
        text = FILE in artifact.extras
        wanted = {"sizes", "learned"} if text else {"sizes", "learned", "scaler"}
        if set(artifact.statistics) != wanted:
            raise ConfigError(
                f"{where}: expected {', '.join(sorted(wanted))}, got {', '.join(sorted(artifact.statistics)) or 'none'}"
                "; save the model again"
            )
        sizes = from_dict(ClassifySizes, artifact.statistics["sizes"], where=f"{where}.sizes")
        learned = from_dict(ClassifyLearned, artifact.statistics["learned"], where=f"{where}.learned")
        words = Words.from_json(artifact.extras[FILE]) if text else None
        scaler = None if text else from_dict(Scaler, artifact.statistics["scaler"], where=f"{where}.scaler")
        if artifact.architecture != sizes.architecture():
            raise ConfigError(f"{where}.sizes: does not describe the layers in `architecture`; save the model again")
        inputs = words.size if words is not None else scaler.width if scaler is not None else 0
        kind = "text" if text else "numeric"
        if (sizes.kind, sizes.inputs, sizes.classes) != (kind, inputs, len(learned.labels)):
            raise ConfigError(
                f"{where}: expected sizes of {kind} inputs, {inputs} of them, and {len(learned.labels)} classes, got "
                f"{sizes.kind}, {sizes.inputs}, {sizes.classes}; save the model again"
            )
        model = cls(**vars(settings))
        model._fitted = FittedClassifier(
            sizes=sizes,
            learned=learned,
            weights=dict(artifact.weights),
            words=words,
            scaler=scaler,
            context=checked_context(artifact.context or {}, sizes, learned.likeness),
            dtype=check_dtype(dtype),
        )
        return model

    def _read(self, sequences: Any, labels: Any, *, labelled: bool) -> Sequences:
        s, fitted = self.settings, self._fitted
        steps = s.steps
        text = isinstance(sequences, str) and not labelled and fitted is not None and fitted.words is not None
        if text and not _names_a_file(sequences):
            return of_arrays([sequences], None)
        column = getattr(sequences, "to_list", None)
        if column is not None and not hasattr(sequences, "columns"):
            sequences = column()  # of a frame, whose index says nothing here
        listed = isinstance(sequences, (list, tuple, np.ndarray))
        if labels is not None or listed:
            if labelled and labels is None:
                raise DataError(
                    "labels: expected the class of each sequence, got none; give them, or a table with them"
                )
            return of_arrays(sequences, labels, steps=steps)
        given = {"text": s.text, "label": s.label, "id": s.id, "time": s.time}
        variables = s.variables
        if fitted is not None:  # other tables have the same columns
            given = {key: fitted.learned.columns.get(key, value) for key, value in given.items()}
            variables = fitted.learned.variables if fitted.learned.columns and fitted.scaler is not None else variables
        return read_sequences(sequences, Roles(**given, variables=variables), steps=steps, labelled=labelled)


def _names_a_file(text: str) -> bool:
    """Whether a string is a path: of something that is there, or one that looks so, which is to be missed."""
    return (not any(map(str.isspace, text)) and ("/" in text or "." in text[:-1])) or Path(text[:255]).exists()


def _classes(found: Sequences) -> tuple[tuple[str, ...], bool]:
    """Names of the classes, in order; and whether all of them are whole numbers."""
    assert found.labels is not None
    every: set[Any] = {label for each in found.labels for label in each} if found.steps else set(found.labels)
    texts = {str(label) for label in every}
    # "1" and 1 are the same class; "01" is no number, since another text would come back.
    whole = all(text.lstrip("-").isdecimal() and str(int(text)) == text for text in texts)
    return tuple(sorted(texts, key=int) if whole else sorted(texts)), whole


def _check(found: Sequences, names: Sequence[str], counts: npt.NDArray[np.int64]) -> None:
    """Hold training data to what can be learnt from at all."""
    total = int(counts.sum())
    if total < LEAST:
        raise DataError(f"fit: expected at least {LEAST} examples, got {total}; a network learns nothing from so few")
    if len(names) < 2:
        raise DataError(f"fit: expected at least 2 classes, got one, {names[0]!r}; there is nothing to tell apart")
    if int((counts > 1).sum()) < 2:
        raise DataError(
            "fit: expected at least 2 classes with 2 examples each, one to train on and one to hold out, got "
            f"{int((counts > 1).sum())}; bring more examples"
        )
    for name, count in zip(names, counts.tolist(), strict=True):
        if count == 1 and not found.steps:
            _LOG.info("class %r has one example, which is trained on and never held out", name)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)

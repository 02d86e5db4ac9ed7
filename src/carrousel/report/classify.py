"""The report about a classifier: how often it is right, whether its probabilities hold, and what it takes for what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from carrousel.metrics.classify import f1_by_class
from carrousel.tasks.classify_evaluate import MAJORITY, OWN, ClassifyEvaluation

from . import fact
from .document import write_page
from .evidence import digits, percent
from .page import Figures, bullets, chart, details, facts, section, table, tiles

if TYPE_CHECKING:
    from carrousel.tasks.classify import Classifier

MOST_CLASSES = 30  # in the table of confusions; of more, the most frequent
MOST_ERRORS = 25


def write_classify_report(
    path: str | Path,
    *,
    classifier: Classifier,
    evaluation: ClassifyEvaluation,
    title: str = "Classes",
    artifact: str | Path | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write one HTML file with everything in it; it loads nothing from anywhere, and refuses to.

    Parameters
    ----------
    path : the file, replaced if it is there; its folder is made
    classifier : whose
    evaluation : what it said of sequences whose classes are known
    title : plain text
    artifact : folder of the saved classifier, for its size on disk
    facts : more to say about the data, name -> plain text

    Raises
    ------
    OSError : it could not be written; what stood there is unchanged
    """
    figures: Figures = {}
    body = [
        _verdict(evaluation),
        tiles(_tiles(evaluation)),
        _scores(evaluation),
        _confusion(evaluation),
        _calibrated(classifier, evaluation, figures),
        _errors(evaluation),
        _about(classifier, evaluation, None if artifact is None else Path(artifact), dict(facts or {})),
    ]
    count, classes = len(evaluation.truth), len(evaluation.classes)
    return write_page(
        path,
        title=title,
        subtitle=f"{count:,} examples of {classes} classes, which it was not told",
        body=body,
        data={"figures": figures, "viewer": None},
        footer=fact.versions(),
    )


def _rival(evaluation: ClassifyEvaluation) -> str:
    """The best of the baselines."""
    return max((name for name in evaluation.scores if name != OWN), key=lambda name: evaluation.scores[name].accuracy)


def _verdict(evaluation: ClassifyEvaluation) -> str:
    """The headline: how often it is right, and whether that is more than a baseline."""
    own, name = evaluation.scores[OWN], _rival(evaluation)
    other = evaluation.scores[name]
    count = len(evaluation.truth)
    right = round(own.accuracy * count)
    lead = f"Right in {percent(own.accuracy)} of {count:,} examples; {name} in {percent(other.accuracy)}."
    worse = own.accuracy < other.accuracy
    low, high = _interval(right, count)
    rest = (
        f"{'The baseline is better here. ' if worse else ''}By the chance of the draw alone the true share may lie "
        f"anywhere from {percent(low)} to {percent(high)} (95% interval). Its probabilities are off by "
        f"{percent(own.calibration_error)} on average."
    )
    mark = " bad" if worse else ""
    return f'<div class="verdict{mark}"><p class="lead">{escape(lead)}</p><p>{escape(rest)}</p></div>'


def _interval(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.959964
    share, spread = right / count, z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def _tiles(evaluation: ClassifyEvaluation) -> list[tuple[str, str]]:
    own = evaluation.scores[OWN]
    return [
        (percent(own.accuracy), "of the examples are classified right"),
        (digits(own.macro_f1), "macro-F1: every class counts alike, however rare"),
        (percent(own.calibration_error), "between what it believes and what is true"),
        (percent(evaluation.scores[MAJORITY].accuracy), "right by always naming the commonest class"),
    ]


def _scores(evaluation: ClassifyEvaluation) -> str:
    rows = [
        [escape(name), percent(s.accuracy), digits(s.macro_f1), digits(s.log_loss), digits(s.brier),
         percent(s.calibration_error)]
        for name, s in evaluation.scores.items()
    ]  # fmt: skip
    head = ["Classifier", "Accuracy", "Macro-F1", "Log loss", "Brier", "Calibration error"]
    notes = (
        "Log loss (nats) and the Brier score judge the probabilities: lower is better. The baselines learnt from the "
        "same examples; “class shares” gives every example the shares of the classes in training."
    )
    return section(
        "Scores beside baselines",
        "What anybody can have for nothing, on the same examples.",
        table(head, rows, classes=["own"]),
        f"<figcaption>{escape(notes)}</figcaption>",
    )


def _confusion(evaluation: ClassifyEvaluation) -> str:
    """A table whose cells are the darker the larger the share of their row."""
    counts = evaluation.confusion
    shown = np.sort(np.argsort(-counts.sum(1), kind="stable")[:MOST_CLASSES])
    predicted = evaluation.probabilities[OWN].argmax(1)
    f1 = f1_by_class(evaluation.truth, predicted, len(evaluation.classes))
    rows: list[list[str]] = []
    for k in shown.tolist():
        total = max(1, int(counts[k].sum()))
        cells = [escape(evaluation.classes[k])]
        for j in shown.tolist():
            share = int(counts[k, j]) / total
            colour = "var(--c-carrousel)" if k == j else "var(--c2)"
            wash = f"color-mix(in srgb, {colour} {round(55 * share + 8 * (share > 0))}%, transparent)"
            cells.append(f'<td style="background: {wash}">{counts[k, j] or "·"}</td>')
        rows.append([*cells, percent(int(counts[k, k]) / total) if counts[k].sum() else "–", digits(float(f1[k]))])
    head = ["True class, down", *(escape(evaluation.classes[k]) for k in shown.tolist()), "Found", "F1"]
    left = len(evaluation.classes) - len(shown)
    more = f" The {left} rarest classes are left out." if left else ""
    return section(
        "What it takes for what",
        f"A row is a true class, a column what was said of it; blue is right, orange is wrong.{more}",
        table(head, rows),
    )


def _calibrated(classifier: Classifier, evaluation: ClassifyEvaluation, figures: Figures) -> str:
    found = evaluation.reliability
    edges = np.linspace(0, 1, len(found.count) + 1)
    full = found.count > 0
    ticks = [[v, f"{100 * v:g}%"] for v in (0, 0.25, 0.5, 0.75, 1)]
    diagram: dict[str, Any] = {
        "label": "Share that is right against the probability that was given",
        "height": 320,
        "legend": False,
        "x": {"label": "probability of the predicted class", "min": 0, "max": 1, "ticks": ticks},
        "y": {"label": "share that is right", "min": 0, "max": 1, "ticks": ticks},
        "marks": [
            {"kind": "diagonal", "style": "", "from": 0, "to": 1},
            {
                "kind": "line",
                "name": "observed",
                "style": "s-carrousel",
                "x": [round(v, 4) for v in found.confidence[full].tolist()],
                "y": [round(v, 4) for v in found.accuracy[full].tolist()],
                "dots": 5,
            },
        ],
    }
    histogram: dict[str, Any] = {
        "label": "How many examples were given which probability",
        "height": 320,
        "legend": False,
        "bins": True,
        "x": {"label": "probability of the predicted class", "min": 0, "max": 1, "ticks": ticks},
        "y": {"label": "examples", "min": 0, "max": float(1.05 * max(1, found.count.max()))},
        "marks": [
            {
                "kind": "bars",
                "name": "examples",
                "style": "s-carrousel",
                "x0": edges[:-1].tolist(),
                "x1": edges[1:].tolist(),
                "y": found.count.tolist(),
            }
        ],
    }
    learned = classifier.fitted.learned
    beside = f", and {digits(learned.likeness)} times the likeness is added" if learned.likeness else ""
    look = (
        f"The networks' logits are divided by {digits(learned.temperature)}, fitted to the held-out parts of the "
        f"training examples{beside}. Here the calibration error is "
        f"{percent(evaluation.scores[OWN].calibration_error)} with it and {percent(evaluation.uncalibrated)} without."
    )
    return section(
        "Do its probabilities mean what they say?",
        look,
        '<div class="pair">',
        chart("reliability", diagram, "On the dashed line a probability of 80% is right in 80 of 100 cases. Below it "
              "the model is too sure; points of few examples lie off it by chance.", figures, "Believed and true"),
        chart("confidence", histogram, "Bars at the right: it is mostly sure.", figures, "How sure it is"),
        "</div>",
    )  # fmt: skip


def _errors(evaluation: ClassifyEvaluation) -> str:
    found = evaluation.errors(MOST_ERRORS)
    wrong = round((1 - evaluation.accuracy) * len(evaluation.truth))
    if not found:
        return section("Its most confident errors", "It made none.")
    rows = [
        [f'<span style="white-space: normal">{escape(name)}</span>', escape(true), escape(said), percent(p)]
        for name, true, said, p in found
    ]
    return section(
        "Its most confident errors",
        f"{len(found)} of {wrong:,}: look here for labels that are wrong, and for what the model cannot see.",
        table(["Example", "True class", "Said", "Its probability"], rows, tall=True),
    )


def _about(classifier: Classifier, evaluation: ClassifyEvaluation, folder: Path | None, more: dict[str, str]) -> str:
    fitted = classifier.fitted
    sizes, learned = fitted.sizes, fitted.learned
    model = {
        "Networks": f"{sizes.members}, each an LSTM of {sizes.hidden_size} units in {sizes.num_layers} layer(s), read "
        f"{'both ways' if sizes.bidirectional else 'one way'}",
        "Parameters": f"{classifier.num_parameters:,}",
        "Trained on": f"{learned.sequences:,} sequences in {fact.seconds(learned.seconds)}",
        "Held-out parts": f"accuracy {percent(learned.accuracy)}, network by network",
    }
    if folder is not None:
        on_disk = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        model["On disk"] = f"{fact.size(on_disk)} in the folder {folder.name}"
    settings = {
        field.name: "by default" if (value := getattr(classifier.settings, field.name)) is None else str(value)
        for field in dataclasses.fields(classifier.settings)
    }
    shares = np.bincount(evaluation.truth, minlength=len(evaluation.classes))
    data = {
        "Examples here": f"{len(evaluation.truth):,}",
        "Classes": ", ".join(f"{name} {n:,}" for name, n in list(zip(evaluation.classes, shares, strict=True))[:20]),
        "What is read": f"words, {sizes.inputs:,} of them with a vector" if sizes.kind == "text" else
        f"{len(learned.variables)} variables, {sizes.window} steps at once",
    }  # fmt: skip
    method = [
        "Words, scales, weights and the temperature come from the training examples alone.",
        "Each network kept the weights that were best on its held-out fifth; the logits of all are averaged.",
        "The calibration error compares confidence and accuracy in 15 bins of equal width.",
    ]
    return "".join(
        [
            '<div class="pair"><div>',
            section("The classifier", "", facts(model), details("All settings", facts(settings))),
            section("How these numbers were made", "", bullets(method)),
            "</div>",
            section("The data", "", facts(data | more)),
            "</div>",
        ]
    )

"""What a classifier must beat: naive Bayes over words and pairs of them, the nearest neighbour, the commonest class.

Each learns from the same training part as the model, and is nothing but arrays, which the artifact holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.sequence import Sequences
from carrousel.features.classify import Scaler, padded, stretched
from carrousel.features.word import words_of
from carrousel.heads.temperature import fit_temperature, softmax

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]

FOLDS = 5
SMOOTHING = (0.03, 0.1, 0.3, 1.0)  # counts added to every n-gram, of which the best on held-out folds is taken
MOST_GRAMS = 500_000
MOST_NEIGHBOURS = 2_000
LEAST_SPREAD = 0.1  # of a variable within a class, in units of its spread over all


def majority(counts: Sequence[int], rows: int) -> Floats:
    """The classes by their shares in training, whatever the sequence: (N, C)."""
    shares = np.array(counts, np.float64) / sum(counts)
    return np.broadcast_to(shares, (rows, len(shares)))


def learn_baseline(
    sequences: Sequences, target: Index | Sequence[Index], classes: int, scaler: Scaler | None
) -> Arrays:
    """The arrays of the baseline that suits the sequences.

    Parameters
    ----------
    target : the class of each sequence, int64 (N,); or of each step, N of int64 (L,)
    """
    if sequences.kind == "text":
        return _learn_bayes(sequences.texts, np.asarray(target), classes)
    assert scaler is not None
    if sequences.steps:
        return _learn_gauss(sequences, np.concatenate(list(target)), classes, scaler)
    return _learn_neighbours(sequences, np.asarray(target), classes, scaler)


def baseline_name(kind: str, steps: bool) -> str:
    """What the baseline is called in tables."""
    if kind == "text":
        return "naive Bayes, words and pairs"
    return "naive Bayes, each step" if steps else "nearest neighbour"


def baseline_probabilities(arrays: Arrays, sequences: Sequences, classes: int, scaler: Scaler | None) -> Floats:
    """What the baseline says of sequences, (N, C), or of all their steps one behind the other."""
    if sequences.kind == "text":
        seen = [_grams(text) for text in sequences.texts]
        z = _bayes(seen, arrays["grams"], arrays["counts"], arrays["documents"], float(arrays["how"][0]))
        return softmax(z, float(arrays["how"][1]))
    assert scaler is not None
    if sequences.steps:
        x = np.concatenate([scaler.apply(values) for values in sequences.values]).astype(np.float64)
        mean, spread, log_share = arrays["means"], arrays["spreads"], arrays["shares"]
        z = -0.5 * (((x[:, None] - mean) / spread) ** 2).sum(2) - np.log(spread).sum(1) + log_share
        return softmax(z, float(arrays["how"][0]))
    nearest = _nearest(_stretched(sequences, scaler), arrays["neighbours"])
    return _certain(arrays["owner"][nearest], float(arrays["how"][0]), classes)


def expected_arrays(kind: str, steps: bool) -> dict[str, tuple[str, int]]:
    """Dtype and number of axes of the arrays of a baseline."""
    if kind == "text":
        return {"grams": ("int64", 1), "counts": ("int32", 2), "documents": ("int64", 1), "how": ("float64", 1)}
    if steps:
        return {"means": ("float64", 2), "spreads": ("float64", 2), "shares": ("float64", 1), "how": ("float64", 1)}
    return {"neighbours": ("float32", 2), "owner": ("int64", 1), "how": ("float64", 1)}


# Naive Bayes over the words and pairs of words that a text has, however often (Wang & Manning 2012, §2.1).


def _grams(text: str) -> Index:
    """The words and pairs of words of a text, each once, as hashes; sorted."""
    words = words_of(text)
    every = {*words, *(" ".join(pair) for pair in pairwise(words))}
    hashes = [
        int.from_bytes(hashlib.blake2b(gram.encode(), digest_size=8).digest(), "little", signed=True) for gram in every
    ]
    return np.array(sorted(hashes), np.int64)


def _learn_bayes(texts: Sequence[str], target: Index, classes: int) -> Arrays:
    seen = [_grams(text) for text in texts]
    grams, times = np.unique(np.concatenate(seen), return_counts=True)
    if len(grams) > MOST_GRAMS:
        grams = np.sort(grams[np.argsort(-times, kind="stable")[:MOST_GRAMS]])
    fold = np.random.default_rng(0).permutation(len(texts)) % FOLDS

    def counted(rows: Index) -> tuple[npt.NDArray[np.int32], Index]:
        counts = np.zeros((len(grams), classes), np.int32)
        for row in rows:
            counts[_known(seen[row], grams), target[row]] += 1
        return counts, np.bincount(target[rows], minlength=classes)

    whole, documents = counted(np.arange(len(texts)))
    held = [np.flatnonzero(fold == k) for k in range(FOLDS)]
    held = [rows for rows in held if len(rows) and len(rows) < len(texts)]
    others = [counted(rows) for rows in held]
    truth = np.concatenate([target[rows] for rows in held])
    best: tuple[float, float, float] | None = None
    for alpha in SMOOTHING:
        z = np.concatenate(
            [
                _bayes([seen[row] for row in rows], grams, whole - part, documents - some, alpha)
                for rows, (part, some) in zip(held, others, strict=True)
            ]
        )
        right = float((z.argmax(1) == truth).mean())
        if best is None or right > best[0]:
            best = right, alpha, fit_temperature(z, truth)
    assert best is not None
    return {"grams": grams, "counts": whole, "documents": documents.astype(np.int64), "how": np.array(best[1:])}


def _known(grams: Index, known: Index) -> Index:
    """Places of those n-grams that are known."""
    place = np.minimum(np.searchsorted(known, grams), len(known) - 1)
    return place[known[place] == grams]


def _bayes(
    seen: Sequence[Index], grams: Index, counts: npt.NDArray[np.int32], documents: Index, alpha: float
) -> Floats:
    """log P(class) + Σ log P(n-gram | class) over the known n-grams of each text, (N, C)."""
    each = counts + alpha
    log_p = np.log(each) - np.log(each.sum(0))
    prior = np.log(documents + 1.0)
    return np.array([prior + log_p[_known(text, grams)].sum(0) for text in seen])


# The nearest neighbour by Euclid's distance, all brought to one length.


def _stretched(sequences: Sequences, scaler: Scaler) -> npt.NDArray[np.float32]:
    return stretched([scaler.apply(values) for values in sequences.values])


def _nearest(x: npt.NDArray[np.float32], known: npt.NDArray[np.float32], *, apart: bool = False) -> Index:
    """The row of `known` next to each of x; with `apart` x is `known`, and no row its own neighbour."""
    found: list[Index] = []
    norms = (known.astype(np.float64) ** 2).sum(1)
    for first in range(0, len(x), 256):
        block = x[first : first + 256].astype(np.float64)
        distance = norms - 2 * block @ known.T.astype(np.float64)
        if apart:
            distance[np.arange(len(block)), first + np.arange(len(block))] = np.inf
        found.append(distance.argmin(1))
    return np.concatenate(found)


def remembered(count: int) -> Index:
    """Which of so many training sequences the model keeps, in order: all, or a sample of ``MOST_NEIGHBOURS``."""
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST_NEIGHBOURS])


def _learn_neighbours(sequences: Sequences, target: Index, classes: int, scaler: Scaler) -> Arrays:
    some = remembered(len(sequences))
    known, owner = _stretched(sequences, scaler)[some], target[some]
    right = (owner[_nearest(known, known, apart=True)] == owner).sum()
    # What a neighbour's class is worth: how often it is right among the training sequences, each by the others.
    return {
        "neighbours": known,
        "owner": owner.astype(np.int64),
        "how": np.array([(right + 1) / (len(owner) + classes)]),
    }


def _certain(chosen: Index, share: float, classes: int) -> Floats:
    p = np.full((len(chosen), classes), (1 - share) / (classes - 1))
    p[np.arange(len(chosen)), chosen] = share
    return p


# A normal distribution of each variable in each class, each step by itself.


def _learn_gauss(sequences: Sequences, target: Index, classes: int, scaler: Scaler) -> Arrays:
    x, _ = padded([np.concatenate([scaler.apply(values) for values in sequences.values])])
    values = x[0].astype(np.float64)
    mean, spread = np.zeros((classes, values.shape[1])), np.ones((classes, values.shape[1]))
    for label in range(classes):
        rows = values[target == label]
        mean[label], spread[label] = rows.mean(0), np.maximum(rows.std(0), LEAST_SPREAD)
    shares = np.log(np.bincount(target, minlength=classes) / len(target))
    z = -0.5 * (((values[:, None] - mean) / spread) ** 2).sum(2) - np.log(spread).sum(1) + shares
    return {"means": mean, "spreads": spread, "shares": shares, "how": np.array([fit_temperature(z, target)])}

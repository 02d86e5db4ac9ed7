"""Training of a language model: the only part of it that needs PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from carrousel.errors import HistoryError
from carrousel.features.language import LanguageSizes
from carrousel.heads.softmax import TiedSoftmax, token_loss
from carrousel.layers.carry import Carry
from carrousel.layers.language import LanguageLSTM
from carrousel.layers.state import LSTMState
from carrousel.tasks.language_setting import LanguageSettings
from carrousel.training import History, Report, TrainingSettings, device, seeded, train

Tokens = npt.NDArray[np.generic]
DEFAULT_EPOCHS = 10
VALIDATION_STREAMS = 32  # at most, and none shorter than:
VALIDATION_LEAST = 256  # tokens, beside which the cold beginning of a stream is small
VALIDATION_TOKENS = 1024  # of each stream; more only cost time
VALIDATIONS = 10  # in a run whose end is known


class Network(nn.Module):
    """Logits of the next token: ``LanguageLSTM`` and the softmax that shares its embedding.

    Parameters
    ----------
    **dropouts : as in ``LanguageLSTM``
    """

    def __init__(self, sizes: LanguageSizes, **dropouts: float | tuple[float, float]) -> None:
        super().__init__()
        self.body = LanguageLSTM(sizes, **dropouts)  # pyright: ignore[reportArgumentType]
        self.head = TiedSoftmax(self.body.embedding)

    def forward(self, ids: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, LSTMState]:
        """Logits (L, N, V) of ids int64 (L, N), and the state behind them."""
        y, after = self.body(ids, state)
        return self.head(y), after

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """By the names of ``LanguageSizes.architecture``."""
        named = self.body.tensors() | {"head.weight": self.head.weight.detach(), "head.bias": self.head.bias.detach()}
        return {name: tensor.cpu().numpy().copy() for name, tensor in named.items()}


class Chunk(NamedTuple):
    """The next tokens of some streams: seen and target int64 (L, n), rows int64 (n,); fresh: the streams begin."""

    seen: Tensor
    target: Tensor
    rows: Tensor
    fresh: bool


class Streams:
    """A text as B streams that are read side by side, L tokens a step; ``training.OrderedBatches``.

    The streams of each epoch begin at other places: the text is a ring, begun anywhere, cut into B parts. Of a text of
    T tokens an epoch reads B·⌊T/B⌋. Where tokens 0 divide documents, these teach how a text begins; where there is one
    document, such a token stands before every stream, so that the beginning of a text is not unheard of.

    Parameters
    ----------
    tokens : integers (T,), on the training device
    """

    def __init__(self, tokens: Tensor, streams: int, length: int, seed: int) -> None:
        self.tokens, self.streams, self.length, self.seed = tokens, streams, length, seed
        self.each = len(tokens) // streams
        self.chunks = math.ceil(self.each / length)
        self._divided = bool((tokens == 0).any())
        self._first = torch.arange(streams, device=tokens.device) * self.each

    def __len__(self) -> int:
        return self.chunks * self.streams

    def order(self, epoch: int) -> Tensor:
        """Chunk after chunk, in each all streams; the place where the epoch begins is part of the index."""
        offset = 0 if epoch == 0 else int(np.random.default_rng([self.seed, epoch, 0]).integers(len(self.tokens)))
        return torch.arange(len(self)) + offset * len(self)

    def __call__(self, index: Tensor) -> Chunk:
        offset, place = int(index[0]) // len(self), index % len(self)
        chunk, rows = int(place[0]) // self.streams, place % self.streams
        first, last = chunk * self.length, min((chunk + 1) * self.length, self.each)
        steps = torch.arange(first - 1, last, device=self.tokens.device)
        places = (self._first[rows] + steps[:, None] + offset) % len(self.tokens)
        ids = self.tokens[places].long()
        if chunk == 0 and not self._divided:
            ids[0] = 0
        return Chunk(ids[:-1], ids[1:], rows, chunk == 0)


def fit_language(
    tokens: Tokens,
    held_out: Tokens,
    sizes: LanguageSizes,
    settings: LanguageSettings,
    *,
    start: Mapping[str, npt.NDArray[np.float32]] | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    log_dir: Path | None = None,
    progress: Callable[[Report], None] | None = None,
) -> tuple[dict[str, npt.NDArray[np.float32]], History]:
    """Train on the one part of a text, and keep the weights that are best on the other.

    Parameters
    ----------
    tokens, held_out : ids (T,) of the two parts
    start : weights to go on from

    Returns
    -------
    the architecture's weights, and the training curve

    Raises
    ------
    HistoryError : fewer tokens than two streams have
    """
    s = settings
    streams = min(s.batch_size, len(tokens) // 2)
    if streams == 0 or not len(held_out):
        raise HistoryError(
            f"fit: expected at least 2 tokens to train on and 1 to validate on, got {len(tokens)} and {len(held_out)}; "
            "give more text"
        )
    place = device()
    batches = Streams(torch.as_tensor(tokens, device=place), streams, s.sequence_length, s.seed)
    later = torch.as_tensor(held_out.astype(np.int64), device=place)
    with seeded(s.seed):
        network = Network(
            sizes, dropout=s.dropout, embedding_dropout=s.embedding_dropout, weight_drop=s.weight_drop,
            recurrent_dropout=s.recurrent_dropout, variational_dropout=s.variational_dropout,
        ).to(place)  # fmt: skip
    if start is not None:
        load(network, start)
    model = Carry(network, network.body.initial_state(streams))

    def loss(model: nn.Module, chunk: Chunk) -> Tensor:
        logits = model(chunk.seen, chunk.rows, fresh=chunk.fresh)
        return token_loss(logits, chunk.target, smoothing=s.label_smoothing)

    def validate(model: nn.Module) -> float:
        assert isinstance(model, Carry)
        return mean_loss(model.network, later)

    limited = s.max_epochs or s.max_steps or s.minutes
    epochs = s.max_epochs if limited else DEFAULT_EPOCHS
    known = [n for n in (s.max_steps, epochs and epochs * batches.chunks) if n]
    history = train(
        model,
        batches,
        loss,
        validate,
        TrainingSettings(
            max_epochs=epochs,
            max_steps=s.max_steps,
            minutes=s.minutes,
            batch_size=streams,
            learning_rate=s.learning_rate,
            weight_decay=s.weight_decay,
            schedule="cosine",
            warmup=s.warmup,
            clip_norm=s.clip_norm,
            patience=s.patience,
            validate_every=max(1, min([batches.chunks, *(n // VALIDATIONS for n in known)])),
            precision=s.precision,
            average=s.average,
            seed=s.seed,
        ),
        run_dir=run_dir,
        resume=resume,
        log_dir=log_dir,
        progress=progress,
    )
    return network.weights(), history


def load(network: Network, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Put an architecture's weights into a network, the inverse of ``Network.weights``."""
    tensors = {name: torch.as_tensor(array.copy()) for name, array in weights.items()}
    network.body.load({name: tensor for name, tensor in tensors.items() if not name.startswith("head.")})
    with torch.no_grad():
        network.head.bias.copy_(tensors["head.bias"])  # its weight is the embedding


def mean_loss(network: Callable[..., tuple[Tensor, LSTMState]], tokens: Tensor, *, length: int = 256) -> float:
    """Nats a token, of streams evenly spread over a text, each from its own start."""
    streams = max(1, min(VALIDATION_STREAMS, len(tokens) // VALIDATION_LEAST))
    target = tokens[: len(tokens) // streams * streams].view(streams, -1)[:, :VALIDATION_TOKENS].T
    each = len(target)
    seen = torch.cat([torch.zeros_like(target[:1]), target[:-1]])
    state, total = None, 0.0
    for first in range(0, each, length):
        logits, state = network(seen[first : first + length], state)
        part = target[first : first + length]
        total += float(token_loss(logits, part)) * part.numel()
    return total / target.numel()

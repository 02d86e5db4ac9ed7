"""Training of a language model: the only part of it that needs PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from carrousel.errors import HistoryError
from carrousel.features.language import LanguageSizes
from carrousel.heads.softmax import SampledSoftmax, TiedSoftmax, token_loss
from carrousel.layers.carry import Carry
from carrousel.layers.language import LanguageLSTM
from carrousel.layers.state import LSTMState
from carrousel.tasks.language_setting import LanguageSettings, Tuning
from carrousel.training import History, Report, TrainingSettings, device, layer_groups, seeded, train

Tokens = npt.NDArray[np.generic]
DEFAULT_EPOCHS = 10
LEAST_STEPS = 150  # of a fine-tuning without any limit: a small text has few steps in an epoch
VALIDATION_STREAMS = 32  # at most, and none shorter than:
VALIDATION_LEAST = 256  # tokens, beside which the cold beginning of a stream is small
VALIDATION_TOKENS = 1024  # of each stream; more only cost time
VALUES = 1 << 24  # logits of it that are in memory at once
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

    def layers(self) -> list[list[nn.Parameter]]:
        """Parameters of each layer, the softmax and what it shares first, then the LSTM's from the last to the first.

        As the vectors of the tokens stand at both ends, they count to the upper one.
        """
        lstm = self.body.lstm
        named = dict(lstm.named_parameters())
        below = [[p for name, p in named.items() if name.endswith(f"_l{k}")] for k in range(lstm.num_layers)]
        inside = {id(p) for p in named.values()}
        return [[p for p in self.parameters() if id(p) not in inside], *reversed(below)]


class Sampled(nn.Module):
    """The mean loss of a network in place of its logits, by a softmax over some of the tokens."""

    def __init__(self, network: Network, softmax: SampledSoftmax) -> None:
        super().__init__()
        self.network, self.softmax = network, softmax

    def forward(self, x: tuple[Tensor, Tensor], state: tuple[Tensor, Tensor]) -> tuple[Tensor, LSTMState]:
        """Of what is seen and what is to be seen next, int64 (L, N) each."""
        y, after = self.network.body(x[0], state)
        return self.softmax(y, x[1]), after


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
    tuning: Tuning | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    log_dir: Path | None = None,
    progress: Callable[[Report], None] | None = None,
) -> tuple[dict[str, npt.NDArray[np.float32]], History]:
    """Train on the one part of a text, and keep the weights that are best on the other.

    Parameters
    ----------
    tokens, held_out : ids (T,) of the two parts
    start : weights to go on from; they are kept where none that come after are better on ``held_out``
    tuning : how

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
    later = torch.as_tensor(held_out, device=place)
    with seeded(s.seed):
        network = Network(
            sizes, dropout=s.dropout, embedding_dropout=s.embedding_dropout, weight_drop=s.weight_drop,
            recurrent_dropout=s.recurrent_dropout, variational_dropout=s.variational_dropout,
        ).to(place)  # fmt: skip
    before = math.inf
    if start is not None:
        load(network, start)
        with torch.no_grad():
            before = mean_loss(network.eval(), later)
        network.train()
    trained: nn.Module = network
    if s.sampled_softmax is not None and s.sampled_softmax < sizes.vocabulary:
        counts = torch.as_tensor(np.bincount(tokens, minlength=sizes.vocabulary))
        trained = Sampled(network, SampledSoftmax(network.head, counts, s.sampled_softmax)).to(place)
    model = Carry(trained, network.body.initial_state(streams))

    def loss(model: nn.Module, chunk: Chunk) -> Tensor:
        if isinstance(trained, Sampled):
            return model((chunk.seen, chunk.target), chunk.rows, fresh=chunk.fresh)
        logits = model(chunk.seen, chunk.rows, fresh=chunk.fresh)
        return token_loss(logits, chunk.target, smoothing=s.label_smoothing)

    def validate(model: nn.Module) -> float:
        assert isinstance(model, Carry)
        found = model.network
        return mean_loss(found.network if isinstance(found, Sampled) else found, later)

    def groups(model: nn.Module) -> list[dict[str, Any]]:
        t = tuning or Tuning()
        return layer_groups(network.layers(), s.weight_decay, factor=t.factor, stage=t.unfreeze / s.num_layers)

    history = train(
        model,
        batches,
        loss,
        validate,
        _training(s, streams, batches.chunks, LEAST_STEPS if start is not None else 0),
        groups=groups,
        run_dir=run_dir,
        resume=resume,
        log_dir=log_dir,
        progress=progress,
    )
    if start is not None and before <= (history.best_validation or 0.0):
        load(network, start)
        history.best_step, history.best_validation = 0, before
    return network.weights(), history


def _training(s: LanguageSettings, streams: int, chunks: int, least: int) -> TrainingSettings:
    """What the loop is told; an epoch has so many chunks. Without any limit: so many steps at least."""
    limited = s.max_epochs or s.max_steps or s.minutes
    epochs = s.max_epochs if limited else max(DEFAULT_EPOCHS, math.ceil(least / chunks))
    known = [n for n in (s.max_steps, epochs and epochs * chunks) if n]
    descent = s.optimizer == "asgd"
    return TrainingSettings(
        max_epochs=epochs,
        max_steps=s.max_steps,
        minutes=s.minutes,
        batch_size=streams,
        optimizer=s.optimizer,
        learning_rate=s.learning_rate,
        weight_decay=s.weight_decay,
        schedule="constant" if descent else "cosine",
        warmup=0.0 if descent else s.warmup,
        clip_norm=s.clip_norm,
        patience=s.patience,
        validate_every=max(1, min([chunks, *(n // VALIDATIONS for n in known)])),
        precision=s.precision,
        average=None if descent else s.average,
        seed=s.seed,
    )


def load(network: Network, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Put an architecture's weights into a network, the inverse of ``Network.weights``."""
    tensors = {name: torch.as_tensor(array.copy()) for name, array in weights.items()}
    network.body.load({name: tensor for name, tensor in tensors.items() if not name.startswith("head.")})
    with torch.no_grad():
        network.head.bias.copy_(tensors["head.bias"])  # its weight is the embedding


def mean_loss(network: Callable[..., tuple[Tensor, LSTMState]], tokens: Tensor, *, length: int | None = None) -> float:
    """Nats a token, of streams evenly spread over a text, each from its own start.

    Parameters
    ----------
    length : steps at once; None: so many that their logits are not much above ``VALUES``
    """
    streams = max(1, min(VALIDATION_STREAMS, len(tokens) // VALIDATION_LEAST))
    target = tokens[: len(tokens) // streams * streams].view(streams, -1)[:, :VALIDATION_TOKENS].T.long()
    each = len(target)
    seen = torch.cat([torch.zeros_like(target[:1]), target[:-1]])
    state, total = None, 0.0
    first = 0
    while first < each:
        logits, state = network(seen[first : first + (length or 1)], state)
        part = target[first : first + (length or 1)]
        first += len(part)
        length = length or max(1, VALUES // logits.numel())
        total += float(token_loss(logits, part)) * part.numel()
    return total / target.numel()

"""An embedding that forgets whole tokens while it is trained."""

from __future__ import annotations

from torch import Tensor, nn

from carrousel.errors import SettingError

from .mask import kept


class DropEmbedding(nn.Embedding):
    """``torch.nn.Embedding`` with dropout of tokens: in one forward a token is there everywhere, or nowhere.

    Parameters
    ----------
    dropout : probability that a token's row is zero in a training forward; the others are scaled by 1/(1 − p)

    Raises
    ------
    SettingError : dropout outside [0, 1)

    References
    ----------
    Gal & Ghahramani 2016 (§4.2); Merity, Keskar & Socher 2018 (§4.3).
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, *, dropout: float = 0.0) -> None:
        if not 0 <= dropout < 1:
            raise SettingError(f"DropEmbedding: dropout: expected from 0 to below 1, got {dropout}")
        super().__init__(num_embeddings, embedding_dim)
        self.dropout = dropout

    def forward(self, input: Tensor) -> Tensor:
        """Vectors (…, E) of ids (…)."""
        vectors = super().forward(input)
        if not self.training or not self.dropout:
            return vectors
        return vectors * kept(self.weight, (self.num_embeddings, 1), self.dropout)[input]

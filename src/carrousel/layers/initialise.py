"""What the parameters of an LSTM layer are before training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import init

from .variant import Variant


@torch.no_grad()
def initialise(parameters: dict[str, Tensor], hidden_size: int, variant: Variant) -> None:
    """Fill the parameters of an LSTM in place, from torch's global random generator.

    ``init="torch"`` draws plain parameters in the order of ``torch.nn.LSTM``, so one seed gives both the same values.
    Gains begin at 1 and the trainable initial state at 0, so that they change nothing until they are trained.

    Parameters
    ----------
    parameters : by name, as in the state_dict
    hidden_size : H
    variant : init, forget_bias and the order of the gates

    References
    ----------
    Orthogonal recurrent blocks: Saxe, McClelland & Ganguli 2014; Glorot & Bengio 2010; forget bias: Gers, Schmidhuber &
    Cummins 2000, Jozefowicz, Zaremba & Sutskever 2015.
    """
    bound = hidden_size**-0.5
    for name, parameter in parameters.items():
        kind = name.rpartition("_l")[0]
        if name in ("h_0", "c_0") or kind == "bias_c":
            init.zeros_(parameter)
        elif kind.startswith("gain"):
            init.ones_(parameter)
        elif variant.init == "torch":
            init.uniform_(parameter, -bound, bound)
        elif kind == "weight_ih":
            for block in parameter.split(hidden_size):
                init.xavier_uniform_(block)
        elif kind == "weight_hh":
            for block in parameter.split(hidden_size):
                init.orthogonal_(block)
        elif kind == "weight_hr":
            init.orthogonal_(parameter)
        else:
            init.zeros_(parameter)
        if variant.forget_bias is not None and kind in ("bias_ih", "bias_hh"):
            # Where the gates are coupled, f = 1 − σ(z_i) = σ(−z_i): its bias is minus that of i.
            forget = parameter.split(hidden_size)[variant.gates.index("i" if variant.coupled else "f")]
            sign = -1.0 if variant.coupled else 1.0
            init.constant_(forget, sign * variant.forget_bias if kind == "bias_ih" else 0.0)

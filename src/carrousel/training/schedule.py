"""The learning rate as a function of how much of the run is over, whether steps or minutes measure it."""

from __future__ import annotations

import math

from carrousel.training.settings import Schedule

# A rise starts at 1/25 of the peak (as one-cycle training does), since a step at rate zero would be wasted.
START = 1 / 25


def learning_rate_factor(schedule: Schedule, fraction: float, warmup: float | None = None) -> float:
    """Share of the peak learning rate at a point of the run.

    With p = fraction / warmup while rising and q = (fraction - warmup) / (1 - warmup) after it:

    - rise: s + (1 - s) p for "constant", "linear" and "cosine"; s + (1 - s) (1 - cos πp) / 2 for "one_cycle"; s = 1/25
    - fall: 1, 1 - q, (1 + cos πq) / 2 and (1 + cos πq) / 2

    Parameters
    ----------
    fraction : 0 at the first step, 1 at the end of the run
    warmup : share of the run that rises; None: 0.3 for "one_cycle", 0 for the others

    References
    ----------
    Loshchilov & Hutter 2017 (cosine); Smith & Topin 2018 (one cycle).
    """
    if warmup is None:
        warmup = 0.3 if schedule == "one_cycle" else 0.0
    if fraction < warmup:
        p = fraction / warmup
        rise = (1 - math.cos(math.pi * p)) / 2 if schedule == "one_cycle" else p
        return START + (1 - START) * rise
    q = min(1.0, (fraction - warmup) / (1 - warmup))
    if schedule == "constant":
        return 1.0
    return 1 - q if schedule == "linear" else (1 + math.cos(math.pi * q)) / 2

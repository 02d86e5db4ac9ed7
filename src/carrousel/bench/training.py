"""Training steps timed on this machine: the LSTM's native kernels beside the ways to write it in torch.

A step is a forward and a backward with all gradients, that of the input too. All are checked to compute the same
gradients, then they take turns.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any, Literal, get_args

from carrousel.bench import WrongResultError
from carrousel.bench.clock import race, typical
from carrousel.bench.limit import TOGETHER, Limits
from carrousel.bench.table import digits, markdown
from carrousel.config import nearest
from carrousel.doctor import installed, machine
from carrousel.errors import SettingError
from carrousel.native import chosen

Precision = Literal["float32", "bfloat16"]
STEPS, BATCH = 100, 32
SIZES = (64, 128, 256, 512)
OWN, NN, PACKED = "Carrousel", "torch nn.LSTM", "torch, packed"
STEPWISE, FUSED, COMPILED = "torch, step by step", "torch, padding flagged", "torch.compile of it"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer norm": {"layer_norm": True},
    "peephole": {"peephole": True},
    "recurrent dropout": {"recurrent_dropout": 0.2},
    "projection": {"proj_size": 0.5},  # of the hidden units
    "lengths": {},  # spread evenly from a tenth to all of the steps
}
TITLE = "A training step: T=100, N=32, as many inputs as hidden units, ms"
LEGEND = (
    "Forward and backward with all gradients. Medians; in brackets how many times as long as Carrousel. Roofline: the "
    "share of Carrousel's time that the multiplications alone would take; nothing can be faster by more than the rest."
)
# The largest difference of a gradient from that in float64, of its largest element, that is let pass. float32: a
# hundred steps of sums of hundreds of products, each rounded by 6e-8, and more by 1/√ε = 316 where a layer norm meets a
# state of zeros; bfloat16 rounds by 2⁻⁹, and torch keeps gates and state in it too.
SINGLE, NORMED, HALF = 1e-4, 1e-2, 0.15


@dataclass(frozen=True)
class Case:
    """One layer of H inputs and H hidden units, T = 100 steps of N = 32 rows."""

    variant: str
    size: int
    precision: Precision
    threads: int

    @property
    def title(self) -> str:
        """What is timed, in a few words."""
        return f"training {self.variant} H={self.size} {self.precision}, threads {self.threads}"

    @property
    def tolerance(self) -> float:
        """How far a gradient may be from that in float64, as a share of its largest element."""
        return HALF if self.precision == "bfloat16" else NORMED if self.variant == "layer norm" else SINGLE

    @property
    def output_size(self) -> int:
        """P."""
        return max(1, int(VARIANTS[self.variant].get("proj_size", 1) * self.size))

    @property
    def multiplications(self) -> int:
        """Of all products: one forward, and two backward, by the weights and by what they multiply."""
        H, P = self.size, self.output_size
        cells = sum(_lengths()) if self.variant == "lengths" else STEPS * BATCH
        return 3 * cells * (4 * H * (H + P) + (H * P if P < H else 0))


@dataclass(frozen=True)
class Result:
    """One rival on one case.

    Parameters
    ----------
    seconds, least : of one step: the median and the best of `rounds` samples; None where `refused` says why not
    difference : the largest one of a gradient from float64, of its largest element
    roofline : seconds that the multiplications take at least; of Carrousel
    """

    case: Case
    rival: str
    seconds: float | None
    least: float | None
    rounds: int
    difference: float | None
    refused: str = ""
    roofline: float | None = None

    def to_data(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def plan(
    variants: Sequence[str] = tuple(VARIANTS),
    sizes: Sequence[int] = SIZES,
    precisions: Sequence[Precision] = get_args(Precision),
    threads: Sequence[int] = (1,),
) -> list[Case]:
    """All cases; what is not plain is timed in float32 only.

    Raises
    ------
    SettingError : an unknown variant or a size that is not 2 to 4096
    """
    for name in variants:
        if name not in VARIANTS:
            raise SettingError(f"variants: unknown name {name!r}; {nearest(name, VARIANTS)}")
    for size in sizes:
        if not 2 <= size <= 4096:
            raise SettingError(f"sizes: expected hidden sizes from 2 to 4096, got {size}")
    return [
        Case(name, size, precision, count)
        for name in variants
        for precision in precisions
        if name == "plain" or precision == "float32"
        for count in threads
        for size in sizes
    ]


def _lengths() -> list[int]:
    return [STEPS // 10 + (STEPS - STEPS // 10) * n // (BATCH - 1) for n in range(BATCH)]


class Task:
    """A case with its layer, inputs, and what its gradients must come to."""

    def __init__(self, case: Case) -> None:
        import torch

        from carrousel.layers import LSTM

        torch.manual_seed(case.size)
        self.case, size = case, case.size
        options = dict(VARIANTS[case.variant])
        if "proj_size" in options:
            options["proj_size"] = case.output_size
        self.layer = LSTM(size, size, **options)
        self.x = torch.randn(STEPS, BATCH, size, requires_grad=True)
        self.slope = torch.randn(STEPS, BATCH, case.output_size) / STEPS
        """d loss / d output"""
        self.lengths = None
        if case.variant == "lengths":
            self.lengths = torch.tensor(_lengths())[torch.randperm(BATCH)]

    def rivals(self, compiled: bool) -> dict[str, Callable[[], Any]]:
        """What gives the output of each, padded with zeros."""
        import torch
        from torch import nn
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

        from carrousel.layers import backend

        def ours(name: Literal["native", "torch"], layer: Any) -> Any:
            with backend(name):
                return layer(self.x, None, self.lengths)[0]

        def packed() -> Any:
            assert self.lengths is not None
            sequence = pack_padded_sequence(self.x, self.lengths, enforce_sorted=False)
            return pad_packed_sequence(plain(sequence)[0], total_length=STEPS)[0]

        found: dict[str, Callable[[], Any]] = {OWN: partial(ours, "native", self.layer)}
        plain: Any = None
        if self.case.variant in ("plain", "projection", "lengths"):
            plain = nn.LSTM(self.case.size, self.case.size, proj_size=self.layer.proj_size)
            plain.load_state_dict(self.layer.state_dict())
            self.others = list(plain.parameters())
        if self.case.variant == "lengths":
            found |= {PACKED: packed, FUSED: partial(ours, "torch", self.layer)}
        elif plain is not None:
            found[NN] = lambda: plain(self.x)[0]
        else:
            found[STEPWISE] = partial(ours, "torch", self.layer)
            if compiled:
                found[COMPILED] = partial(ours, "torch", torch.compile(self.layer, fullgraph=True))
        return found

    def parameters(self, rival: str) -> list[Any]:
        """Those that a rival has gradients of, in one order."""
        return self.others if rival in (NN, PACKED) else list(self.layer.parameters())

    def step(self, rival: str, output: Callable[[], Any]) -> None:
        """Forward and backward."""
        import torch

        self.x.grad = None
        for parameter in self.parameters(rival):
            parameter.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=self.case.precision == "bfloat16"):
            y = output()
        y.backward(self.slope.to(y.dtype))

    def gradients(self, rival: str, output: Callable[[], Any]) -> list[Any]:
        """Of one step; the masks of a dropout are those of one seed."""
        import torch

        torch.manual_seed(1)
        self.step(rival, output)
        found: list[Any] = [tensor.grad for tensor in (self.x, *self.parameters(rival))]
        return [slope.double() for slope in found]

    def expected(self) -> list[Any]:
        """The gradients in float64 by torch's own operations; in float32 where masks are drawn, which depend on it."""
        import copy

        import torch

        from carrousel.layers import backend

        real = torch.float32 if "dropout" in self.case.variant else torch.float64
        layer, x = copy.deepcopy(self.layer).to(real), self.x.detach().to(real).requires_grad_()
        torch.manual_seed(1)
        with backend("torch"):
            y = layer(x, None, self.lengths)[0]
        slopes = torch.autograd.grad(y, [x, *layer.parameters()], self.slope.to(real))
        return [slope.double() for slope in slopes]


def run(
    cases: Iterable[Case], *, seconds: float, compiled: bool = False, progress: Callable[[Any], None] | None = None
) -> list[Result]:
    """Check and time all cases.

    Parameters
    ----------
    seconds : to spend on the turns of one case
    compiled : with torch.compile of what torch does step by step, which takes minutes to compile
    progress : told each case before it begins

    Raises
    ------
    SettingError : the native kernels are not there
    WrongResultError : as of ``measure``
    """
    import torch

    before, results, isa = torch.get_num_threads(), list[Result](), chosen()
    limits = None if isa == "numpy" else Limits(isa)  # the first case then says what is missing
    try:
        for case in cases:
            if progress is not None:
                progress(case)
            torch.set_num_threads(case.threads)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
                found = measure(Task(case), seconds, compiled)
            if limits is not None:
                at_once = TOGETHER.get(isa, {}).get(case.precision, 1) * case.threads
                least = 2 * case.multiplications / (limits.flops * at_once)
                found = [replace(one, roofline=least) if one.rival == OWN else one for one in found]
            results += found
    finally:
        torch.set_num_threads(before)
    return results


def measure(task: Task, seconds: float, compiled: bool = False) -> list[Result]:
    """One case.

    Raises
    ------
    WrongResultError : Carrousel computed something else than the reference
    """
    case, expected = task.case, task.expected()
    ready: list[tuple[str, Callable[[], Any], float]] = []
    results: list[Result] = []
    for rival, output in task.rivals(compiled).items():
        try:
            error = _difference(task.gradients(rival, output), expected)
        except Exception as fault:
            if rival == OWN:
                raise
            why = f"{type(fault).__name__}: {str(fault).partition('.')[0][:200]}"
            results.append(Result(case, rival, None, None, 0, None, why))
            continue
        if not error <= case.tolerance:
            why = f"its gradients differ from float64 by {error:.1e}, {case.tolerance:g} is let pass"
            if rival == OWN:
                raise WrongResultError(f"{rival}, {case.title}: {why}")
            results.append(Result(case, rival, None, None, 0, error, why))
            continue
        ready.append((rival, output, error))

    def loop(rival: str, output: Callable[[], Any], count: int) -> None:
        for _ in repeat(None, count):
            task.step(rival, output)

    samples = race([partial(loop, rival, output) for rival, output, _ in ready], seconds)
    for (rival, _, error), times in zip(ready, samples, strict=True):
        results.append(Result(case, rival, typical(times), min(times), len(times), error))
    return results


def _difference(got: list[Any], expected: list[Any]) -> float:
    return max(
        float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))
        for one, other in zip(got, expected, strict=True)
    )


def tables(results: Sequence[Result]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Header and rows by variant and precision; a row is a size and a number of threads, a column a rival."""
    found: dict[str, tuple[list[str], list[list[str]]]] = {}
    lines: dict[Case, dict[str, Result]] = {}
    for result in results:
        lines.setdefault(result.case, {})[result.rival] = result
    for case, line in lines.items():
        names = list(dict.fromkeys([OWN, *line]))
        header = ["H", "threads", OWN, "roofline", *names[1:]]
        own = line.get(OWN)
        cells = [_cell(line[name], own) for name in names if name in line]
        share = "–" if own is None or not own.seconds or own.roofline is None else f"{own.roofline / own.seconds:.0%}"
        row = [str(case.size), str(case.threads), cells[0], share, *cells[1:]]
        found.setdefault(f"{case.variant}, {case.precision}", (header, []))[1].append(row)
    return found


def _cell(result: Result, own: Result | None) -> str:
    if result.seconds is None:
        return "refused"
    number = digits(1e3 * result.seconds)
    if result is own or own is None or own.seconds is None:
        return number
    return f"{number} ({result.seconds / own.seconds:.2f}×)"


def remarks(results: Sequence[Result]) -> list[str]:
    """What was left out and why, and how far the gradients agreed, one sentence each."""
    found = [f"REFUSED: {one.rival}, {one.case.title}: {one.refused}" for one in results if one.refused]
    for tolerance in (SINGLE, NORMED, HALF):
        errors = [
            (one.difference, one.case)
            for one in results
            if one.case.tolerance == tolerance and one.difference is not None and not one.refused
        ]
        if errors:
            what = "layer norm" if tolerance == NORMED else errors[0][1].precision
            most = max(error for error, _ in errors)
            found.append(
                f"{what}: gradients differ from those in float64 by at most {most:.1e} of their largest element; "
                f"{tolerance:g} is let pass"
            )
    return found


def page(results: Sequence[Result], command: str) -> str:
    """The whole report in Markdown."""
    import torch

    facts = {
        "machine": machine(),
        "versions": f"carrousel {installed('carrousel') or 'from its sources'}, torch {torch.__version__}",
        "command": f"`{command}`",
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    }
    parts = ["# Training on this machine", f"{TITLE}. {LEGEND}"]
    for title, (header, rows) in tables(results).items():
        parts += [f"## {title[0].upper()}{title[1:]}", markdown(header, rows)]
    parts += ["## How it was measured", "\n".join(f"- {sentence}" for sentence in remarks(results))]
    parts += ["\n".join(f"- {name}: {text}" for name, text in facts.items())]
    return "\n\n".join(parts) + "\n"

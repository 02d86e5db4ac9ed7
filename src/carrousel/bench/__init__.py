"""Step, chunk and batch timed on this machine: Carrousel beside what else is installed, and beside what is possible.

All compute the same network, which is checked before anything is timed; then they take turns.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from carrousel import native
from carrousel.bench.case import TOLERANCES, Case, Task
from carrousel.bench.clock import race, typical
from carrousel.bench.limit import Limits
from carrousel.bench.rival import Missing, Rival, Run, discover
from carrousel.bench.rival.carrousel import Carrousel
from carrousel.doctor import installed, machine, usable_cores
from carrousel.native import Dtype

Progress = Callable[[Case], None]


class WrongResultError(Exception):
    """Carrousel itself computed something else than the reference: nothing is timed then."""


@dataclass(frozen=True)
class Result:
    """One rival on one case.

    Parameters
    ----------
    seconds, least : of one call: the median and the best of `rounds` samples; None where `refused` says why not
    difference : the largest one from float64
    bound : seconds below which the roofline lets nothing come; None where it was not measured
    """

    case: Case
    rival: str
    dtype: Dtype
    seconds: float | None
    least: float | None
    rounds: int
    difference: float | None
    bound: float | None
    refused: str = ""


@dataclass(frozen=True)
class Report:
    """All results, with the facts that they need."""

    results: list[Result]
    missing: list[Missing]
    limits: dict[str, object] | None
    facts: dict[str, str]

    def to_data(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @property
    def remarks(self) -> list[str]:
        """What was left out and why, and how far the outputs agreed, one sentence each."""
        found = [f"{one.name} takes no part: {one.why}" for one in self.missing]
        found += [
            f"REFUSED: {result.rival} in {result.dtype}, {result.case.title}: {result.refused}"
            for result in self.results
            if result.refused
        ]
        for dtype, tolerance in TOLERANCES.items():
            own = [result for result in self.results if result.dtype == dtype and not result.refused]
            if errors := [result.difference for result in own if result.difference is not None]:
                most = f"{max(errors):.1e}; {tolerance:g} is let pass"
                found.append(f"{dtype}: outputs differ from those in float64 by at most {most}")
        return found


def run(
    cases: Sequence[Case],
    *,
    dtypes: Sequence[Dtype],
    threads: int = 1,
    seconds: float = 1.5,
    progress: Progress | None = None,
) -> Report:
    """Check and time all cases.

    Parameters
    ----------
    seconds : to spend on the turns of one case
    progress : told each case before it begins

    Raises
    ------
    WrongResultError : Carrousel computed something else than the reference
    """
    classes, missing = discover()
    rivals = [rival(threads) for rival in classes]
    isa = native.chosen()
    # Of several cores, caches and memory they share a part: what they can do at most is not a multiple of one's.
    limits = Limits(isa) if isa != "numpy" and threads == 1 else None
    results: list[Result] = []
    for case in cases:
        if progress is not None:
            progress(case)
        results += measure(case, rivals, dtypes, seconds=seconds, limits=limits)
    return Report(results, missing, None if limits is None else limits.to_data(), facts(rivals, isa, threads))


def measure(
    case: Case, rivals: Iterable[Rival], dtypes: Sequence[Dtype], *, seconds: float, limits: Limits | None
) -> list[Result]:
    """One case.

    Raises
    ------
    WrongResultError : as of ``run``
    """
    task = Task(case)
    ready: list[tuple[Rival, Dtype, Run, float]] = []
    results: list[Result] = []
    for rival in rivals:
        for dtype in dtypes:
            if dtype not in rival.dtypes:
                continue
            try:
                made = rival.prepare(task, dtype)
                error = None if made is None else task.difference(made.values())
            except Exception as fault:
                if isinstance(rival, Carrousel):
                    raise
                why = f"{type(fault).__name__}: {str(fault).partition('.')[0][:200]}"
                results.append(Result(case, rival.name, dtype, None, None, 0, None, None, why))
                continue
            if made is None or error is None:
                continue
            if error > TOLERANCES[dtype]:
                why = f"its outputs differ from float64 by {error:.1e}, {TOLERANCES[dtype]:g} is let pass"
                if isinstance(rival, Carrousel):
                    raise WrongResultError(f"{rival.name} in {dtype}, {case}: {why}")
                results.append(Result(case, rival.name, dtype, None, None, 0, error, None, why))
                continue
            ready.append((rival, dtype, made, error))
    samples = race([made.loop for _, _, made, _ in ready], seconds)
    for (rival, dtype, _, error), times in zip(ready, samples, strict=True):
        bound = limits.seconds(case, dtype) if limits is not None else None
        results.append(Result(case, rival.name, dtype, typical(times), min(times), len(times), error, bound))
    return results


def facts(rivals: Iterable[Rival], isa: str, threads: int) -> dict[str, str]:
    """Machine, kernels, versions, date."""
    packages = sorted({"carrousel", "numpy"} | {package for rival in rivals for package in rival.packages})
    return {
        "machine": machine(),
        "kernels": f"{isa}, {threads} thread{'s' * (threads != 1)}, on core {', '.join(map(str, usable_cores()))}",
        "versions": ", ".join(f"{package} {installed(package) or 'from its sources'}" for package in packages),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    }

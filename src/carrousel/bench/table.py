"""Results as tables of text, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from carrousel.bench import Report, Result
from carrousel.bench.case import DTYPES, Case, What
from carrousel.bench.rival.carrousel import Carrousel
from carrousel.native import Dtype

Rows = list[list[str]]
TITLES: dict[What, str] = {
    "step": "One step of one stream, µs",
    "chunk": "A sequence of T steps for N rows, ms",
    "batch": "One step of N streams, ns a stream",
}
LEGEND = (
    "Medians; in brackets how many times as long as Carrousel in the same precision. Roofline: the share of what "
    "arithmetic and the weights' way from their cache allow; above 100% where some of them were still in a nearer one."
)


def tables(results: Sequence[Result]) -> dict[What, tuple[list[str], Rows]]:
    """Header and rows for each kind of case; a row is a case in one precision, a column a rival."""
    found: dict[What, tuple[list[str], Rows]] = {}
    for what in get_args(What):
        own = [result for result in results if result.case.what == what]
        if own:
            found[what] = _table(what, own)
    return found


def _table(what: What, results: Sequence[Result]) -> tuple[list[str], Rows]:
    names = list(dict.fromkeys([Carrousel.name, *(result.rival for result in results)]))
    lines: dict[tuple[Case, Dtype], dict[str, Result]] = {}
    for result in sorted(results, key=lambda result: DTYPES.index(result.dtype)):
        lines.setdefault((result.case, result.dtype), {})[result.rival] = result
    order = list(dict.fromkeys(result.case for result in results))
    shaped = what != "step"
    header = ["H", *(["shape"] if shaped else []), "weights", Carrousel.name, "roofline", *names[1:]]
    rows: Rows = []
    for (case, dtype), line in sorted(lines.items(), key=lambda item: order.index(item[0][0])):
        own = line.get(Carrousel.name)
        row = [str(case.size), *([case.shape] if shaped else []), dtype]
        rows.append([*row, number(own), share(own), *(_beside(line.get(name), own) for name in names[1:])])
    return header, rows


def scale(case: Case) -> float:
    """What seconds are multiplied with to get the unit of a case's table."""
    return {"step": 1e6, "chunk": 1e3, "batch": 1e9 / case.batch}[case.what]


def number(result: Result | None) -> str:
    """A time in the unit of its table."""
    if result is None:
        return "–"
    if result.seconds is None:
        return "refused"
    return digits(result.seconds * scale(result.case))


def digits(value: float) -> str:
    """Three of them, never with an exponent."""
    return f"{value:#.3g}".rstrip(".") if value < 999.5 else f"{float(f'{value:.3g}'):,.0f}"


def share(result: Result | None) -> str:
    """Of the roofline."""
    if result is None or result.seconds is None or result.bound is None:
        return "–"
    return f"{100 * result.bound / result.seconds:.0f}%"


def ratio(result: Result | None, own: Result | None) -> float | None:
    """How many times as long as `own`."""
    if result is None or own is None or result.seconds is None or own.seconds is None:
        return None
    return result.seconds / own.seconds


def _beside(result: Result | None, own: Result | None) -> str:
    times = ratio(result, own)
    return (
        number(result) if times is None else f"{number(result)} ({f'{times:.2g}' if times < 99.5 else f'{times:.0f}'}×)"
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def limits_text(limits: Mapping[str, object] | None) -> str:
    """The measured limits in one sentence."""
    if limits is None:
        return "The roofline was not measured: that takes the native engine and one thread."
    bandwidth = limits["bandwidth"]
    flops = limits["flops"]
    assert isinstance(bandwidth, Mapping)
    assert isinstance(flops, float)
    rates = ", ".join(f"{int(size) >> 10:,} KiB: {rate / 1e9:.0f}" for size, rate in bandwidth.items())
    return f"Limits of one core: {flops / 1e9:.0f} GFLOP/s in float32; GB/s when reading again and again {rates}."


def page(report: Report, command: str) -> str:
    """The whole report in Markdown."""
    parts = ["# Carrousel's engine on this machine", LEGEND]
    for what, (header, rows) in tables(report.results).items():
        parts += [f"## {TITLES[what]}", markdown(header, rows)]
    facts = {**report.facts, "command": f"`{command}`"}
    parts += ["## How it was measured", limits_text(report.limits)]
    parts += ["\n".join(f"- {sentence}" for sentence in report.remarks)] if report.remarks else []
    parts += ["\n".join(f"- {name}: {text}" for name, text in facts.items())]
    return "\n\n".join(parts) + "\n"

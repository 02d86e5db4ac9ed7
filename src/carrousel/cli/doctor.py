"""``carrousel doctor``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from carrousel.cli._output import print_rows

if TYPE_CHECKING:
    from carrousel.doctor import Findings, Kernels

EXAMPLES = ("carrousel doctor",)


def command(as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False) -> None:
    """Say which kernels of the engine run here and why, with versions, cores, cache sizes and memory."""
    from carrousel.doctor import examine

    found = examine()
    if as_json:
        print(json.dumps(found.to_data(), indent=2))
        return
    print_rows(("kernels", "here", "vector"), [_kernels(kernels, found) for kernels in found.kernels])
    print()
    print_rows(("what", "here"), _facts(found))
    if found.advice:
        print(f"\nadvice: {found.advice}")


def _kernels(kernels: Kernels, found: Findings) -> tuple[str, str, str]:
    here = "runs" if kernels.runs else f"does not run: the processor lacks {kernels.lacks}"
    if kernels.chosen:
        best = "the best that runs" if found.native else "nothing else is built"
        why = "CARROUSEL_ISA asks for it" if found.forced else best
        here += f", chosen: {why}"
    return kernels.name, here, f"{kernels.lanes} × float32" if kernels.lanes else "NumPy's own"


def _facts(found: Findings) -> list[tuple[str, str]]:
    kib = 1 << 10
    caches = ", ".join(f"{name} {size // kib:,} KiB" for name, size in found.caches.items())
    threads = "".join(f", {name}={value}" for name, value in found.threads.items())
    facts = {
        "native engine": "built" if found.native else f"not built: {found.why_missing}",
        "C++ compiler": found.compiler or "none on the path",
        "processor": found.processor,
        "cores": f"{found.cores}, {found.usable} of them for this process{threads}",
        "caches": caches or "unknown",
        "memory": "unknown" if found.memory is None else f"{found.memory / 2**30:.1f} GiB",
        "system": found.system,
    }
    return [*facts.items(), *((name, text or "not installed") for name, text in found.versions.items())]

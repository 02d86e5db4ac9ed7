"""What every benchmark page says: the machine, the versions, the command, the date; and tables in Markdown."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PAGES = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"


def machine() -> str:
    """Processor, cores, memory and system, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


def cores(threads: int) -> str:
    """Threads and the cores that they may use, in words."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{threads} thread{'s' * (threads > 1)}, {count} core{'s' * (count > 1)}"


def versions(*packages: str) -> str:
    """Python's version and those of the packages that are installed."""
    found = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """A Markdown table; the first column, or as many as ``left``, to the left, the others to the right."""
    lines = [header, ["---"] * left + ["---:"] * (len(header) - left), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def command() -> str:
    """The command line that is running, as a reader would type it; bound to the cores that it is bound to."""
    script = Path(sys.argv[0]).resolve()
    root = PAGES.parent.parent
    shown = script.relative_to(root) if script.is_relative_to(root) else script.name
    line = shlex.join(["python", str(shown), *sys.argv[1:]])
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return f"taskset -c {','.join(map(str, cores))} {line}" if 0 < len(cores) < (os.cpu_count() or 1) else line


def write(name: str, title: str, parts: Sequence[str], *, packages: Sequence[str], seeds: str = "") -> Path:
    """Write docs/benchmarks/<name>.md and say where."""
    facts = [
        f"- machine: {machine()}",
        f"- versions: {versions(*packages)}",
        f"- command: `{command()}`",
        f"- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        *([f"- seeds: {seeds}"] if seeds else []),
    ]
    PAGES.mkdir(parents=True, exist_ok=True)
    path = PAGES / f"{name}.md"
    path.write_text("\n\n".join([f"# {title}", *parts, "## How it was measured", "\n".join(facts)]) + "\n")
    print(f"wrote {path}")
    return path

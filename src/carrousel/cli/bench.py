"""``carrousel bench``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrousel.cli._output import console, print_rows, remark
from carrousel.errors import SettingError

if TYPE_CHECKING:
    from carrousel.bench.case import Case

EXAMPLES = ("carrousel bench --quick --sizes 64 -o bench.md",)


def command(
    what: Annotated[str, typer.Option(metavar="NAMES", help="What to time.")] = "step,chunk,batch",
    sizes: Annotated[
        str | None,
        typer.Option(metavar="SIZES", help="Inputs and hidden units. Default: 16,64,128,256,512; with --quick 64,256."),
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="NAMES", help="Precisions.")] = "float32,bfloat16,int8",
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="Threads that every engine may use.")] = 1,
    training: Annotated[
        bool, typer.Option("--training", help="Time training steps of every variant instead, in float32 and bfloat16.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer cases, for a shorter time each.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Also write the results, as .md or .json.")
    ] = None,
) -> None:
    """Time the engine on this machine, beside PyTorch, ONNX Runtime and OpenVINO as far as they are installed.

    One LSTM with as many inputs as hidden units: one step of one stream, whole sequences, one step of many streams. All
    are checked to compute the same, then take turns. The roofline is what the machine allows at most.
    """
    from carrousel.bench import run
    from carrousel.bench.case import DTYPES, SIZES, plan
    from carrousel.bench.table import LEGEND, TITLES, limits_text, page, tables
    from carrousel.config import nearest

    if output is not None and output.suffix not in (".md", ".json"):
        raise SettingError(f"-o: expected a file that ends in .md or .json, got {str(output)!r}")
    dtypes: Any = _names(dtype)
    for name in dtypes:
        if name not in DTYPES:
            raise SettingError(f"--dtype: unknown name {name!r}; {nearest(name, DTYPES)}")
    if training:
        precisions = [name for name in dtypes if name != "int8"]
        given = None if sizes is None else _whole(sizes)
        _train(given, precisions, threads, quick, output)
        return
    chosen = (64, 256) if quick and sizes is None else SIZES if sizes is None else _whole(sizes)
    words: Any = _names(what)
    cases = plan(words, chosen, quick=quick)
    with _progress(len(cases)) as progress:
        report = run(cases, dtypes=dtypes, threads=threads, seconds=0.3 if quick else 1.5, progress=progress)
    for kind, (header, rows) in tables(report.results).items():
        print(TITLES[kind])
        print_rows(header, rows)
        print()
    for sentence in (LEGEND, limits_text(report.limits), *report.remarks):
        print(sentence)
    if output is not None:
        line = shlex.join(["carrousel", *sys.argv[1:]])
        data = json.dumps({**report.to_data(), "command": line}, indent=2)
        output.write_text(page(report, line) if output.suffix == ".md" else data + "\n", encoding="utf-8")
        remark(f"wrote {output}")


def _train(
    sizes: Sequence[int] | None, precisions: Sequence[Any], threads: int, quick: bool, output: Path | None
) -> None:
    """What --training does."""
    from carrousel.bench.training import LEGEND, SIZES, TITLE, page, plan, remarks, run, tables

    cases = plan(sizes=sizes or SIZES[: 1 if quick else None], precisions=precisions, threads=[threads])
    with _progress(len(cases)) as progress:
        results = run(cases, seconds=0.3 if quick else 1.5, progress=progress)
    print(TITLE)
    for title, (header, rows) in tables(results).items():
        print(f"\n{title[0].upper()}{title[1:]}")
        print_rows(header, rows)
    print()
    for sentence in (LEGEND, *remarks(results)):
        print(sentence)
    if output is not None:
        line = shlex.join(["carrousel", *sys.argv[1:]])
        data = json.dumps({"results": [result.to_data() for result in results], "command": line}, indent=2)
        output.write_text(page(results, line) if output.suffix == ".md" else data + "\n", encoding="utf-8")
        remark(f"wrote {output}")


def _names(text: str) -> Sequence[str]:
    return [word.strip() for word in text.split(",")]


def _whole(text: str) -> Sequence[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise SettingError(f"--sizes: expected whole numbers with commas between them, got {text!r}") from None


@contextmanager
def _progress(total: int) -> Generator[Callable[[Case], None]]:
    """A bar on stderr where somebody watches."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    err = console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    # Redrawn between the cases only: a thread that draws would take time from what is measured.
    with Progress(*columns, console=err, auto_refresh=False, disable=not err.is_terminal) as bar:
        task = bar.add_task("checking", total=total)
        done = -1

        def show(case: Case) -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, description=case.title, refresh=True)

        yield show
        bar.update(task, completed=total, description="done", refresh=True)

"""Write docs/cli.md from the program itself: ``python docs/generate_cli.py``; with --check only compare."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from carrousel import cli

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# Command line

Every command says the same and more with `--help`. This page is written from the program by `docs/generate_cli.py`; the
tests run its examples from top to bottom.

"""


def page() -> str:
    """The whole page."""
    program = typer.main.get_command(cli.application())
    paragraphs = inspect.getdoc(cli).split("\n\n")  # type: ignore[union-attr]
    codes = next(p for p in paragraphs if p.startswith("Exit codes"))
    return HEAD + codes + "\n\n" + "\n".join(sections(program, "carrousel", None))


def sections(command: Any, path: str, parent: Any) -> Iterator[str]:
    """One section a command, groups before what is in them."""
    context = command.make_context(path.split()[-1], [], parent=parent, resilient_parsing=True)
    if hasattr(command, "commands"):
        for name in command.list_commands(context):
            yield from sections(command.get_command(context, name), f"{path} {name}", context)
        return
    words = path.split()
    by_run = parent.command.subcommand_metavar.startswith("RUN")
    yield f"## {' '.join(words[:-1])}, {words[-1]}\n" if by_run else f"## {path}\n"
    yield f"{command.help}\n"
    typed = " ".join(words[:-1] if by_run else words)
    pieces = command.collect_usage_pieces(context)
    # The folder decides which command is meant, so it comes before all options.
    pieces = [p for p in pieces if p.strip("{}") == "RUN"] + [p for p in pieces if p.strip("{}") != "RUN"]
    yield f"```text\n{typed} {' '.join(pieces)}\n```\n"
    rows = [row for parameter in command.get_params(context) if (row := record(parameter, context))]
    if rows:
        yield "| | |\n|---|---|\n" + "\n".join(rows) + "\n"
    examples = command.epilog.split("\n\n")[1:]
    yield "```bash\n" + "\n".join(examples) + "\n```\n"


def record(parameter: Any, context: Any) -> str | None:
    """One row of a command's table."""
    if parameter.name == "help":
        return None
    name, text = parameter.get_help_record(context)
    return f"| `{name}` | {text} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page differs")
    check = parser.parse_args().check
    fresh = page()
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != fresh:
        print("docs/cli.md differs from the program; run python docs/generate_cli.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The command line. The path of a file is the command: ``train/forecast.py`` is ``carrousel train forecast``.

Such a file holds one function ``command`` (its docstring is the help) and ``EXAMPLES``, shell lines that stand in the
help and in the documentation and are run by the tests. Files whose name begins with an underscore are no commands.

A folder may say in its ``__init__.py`` what stands for the name of one of its commands: ``BY_RUN``, a trained model as
first argument, whose task is the command (``carrousel predict RUN`` is ``predict/forecast.py`` for a forecaster);
``DEFAULT``, the command that is meant where none is named.

Exit codes: 0 done; 2 the user's error, one line on stderr; 1 ours, with a traceback; 130 and 141 after an interrupt and
a closed pipe, as shells expect.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import carrousel
from carrousel.errors import CarrouselError, SettingError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
ORDER = ("train", "predict", "evaluate", "stream", "demo", "data")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` come without the program's name."""
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _silence()
        return 141
    except CarrouselError as error:
        return _refuse(str(error))
    except OSError as error:
        if error.errno in FULL:
            _silence()
            return _refuse(
                f"the output could not be written ({error.strerror}); make room for it, or choose another place"
            )
        if error.filename is None:
            return _apologise()
        return _refuse(f"{error.filename2 or error.filename}: {error.strerror}")  # a file that is renamed has two
    except Exception:
        return _apologise()


def _run(arguments: list[str]) -> int:
    try:
        program = typer.main.get_command(application())
        # The program's own main() would print boxes instead of one line.
        with program.make_context("carrousel", arguments) as context:
            program.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except typer.TyperException as error:
        if not (message := error.format_message().strip()):
            return 0  # A group without a command: its help has been printed.
        context: Any = getattr(error, "ctx", None)
        return _refuse(message.rstrip(".") + (f"; see {context.command_path} --help" if context else ""))
    return 0


def _silence() -> None:
    """Let nothing more go to stdout: the interpreter flushes it once more when it ends."""
    with suppress(OSError):  # no file behind it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(message: str) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return 2


def _apologise() -> int:
    traceback.print_exc()
    print("error: a fault of carrousel's own; please report it with the lines above and the command", file=sys.stderr)
    return 1


class _Group(TyperGroup):
    """Commands in the order of a first use; those that ORDER does not name follow by name."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return sorted(self.commands, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


class _Tasks(_Group):
    """One command for each task; which one is meant, the model in the folder RUN says, or its own name does."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not args and not ctx.resilient_parsing:
            ctx.fail("Missing argument 'RUN'")
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            ctx.fail(f"Expected the folder RUN of a trained model before all options, got {args[0]!r}")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> tuple[str | None, Any, list[str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        from carrousel.cli._option import task

        run = args[0]
        if run in self.commands and not Path(run).is_dir():
            return run, self.commands[run], args[1:]
        if (name := task(Path(run))) not in self.commands:
            tasks = " or ".join(self.commands)
            raise SettingError(f"{ctx.command_path}: expected a model for {tasks}, got one for {name!r} in {run!r}")
        return name, self.commands[name], args


class _Default(_Group):
    """Commands of which one is meant where none is named."""

    default: str

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        named = bool(args) and (not args[0].startswith("-") or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named or ctx.resilient_parsing else [self.default, *args])


def application() -> typer.Typer:
    """All commands as one typer application."""
    app = _group(importlib.import_module(__name__), _top.__doc__)
    app.callback()(_top)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"carrousel {carrousel.__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """LSTM networks for series, streams and text: train, predict, evaluate, stream row by row."""


def _group(package: ModuleType, text: str | None) -> typer.Typer:
    """The commands of one folder."""
    by_run, default = getattr(package, "BY_RUN", False), getattr(package, "DEFAULT", None)
    kind = type("_Default", (_Default,), {"default": default}) if default else _Tasks if by_run else _Group
    group = typer.Typer(
        cls=kind,
        subcommand_metavar="RUN [ARGS]..." if by_run else None,
        help=text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for entry in pkgutil.iter_modules(package.__path__):
        if entry.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{entry.name}")
        if entry.ispkg:
            group.add_typer(_group(module, module.__doc__), name=entry.name)
        else:
            heading = "Example:" if len(module.EXAMPLES) == 1 else "Examples:"
            # Typer joins the lines of a paragraph in an epilog, and keeps them apart in a help text.
            epilog = "\n".join([heading, *module.EXAMPLES]).replace("\n", "\n\n")
            paragraphs = (inspect.getdoc(module.command) or "").split("\n\n")
            text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
            group.command(entry.name, help=text, epilog=epilog)(module.command)
    return group

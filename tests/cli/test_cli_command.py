"""How the program is called: its commands, options and exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from carrousel import cli
from carrousel.cli._option import numbers, words
from carrousel.errors import SettingError
from cli.program import process, refusal, succeed


def test_a_process_ends_with_the_code_and_the_line_of_its_command(tmp_path: Path) -> None:
    assert process("--version", cwd=tmp_path).code == 0
    assert "'nowhere'" in refusal("predict", "nowhere", cwd=tmp_path, run=process)


def test_version_names_the_program(tmp_path: Path) -> None:
    assert succeed("--version", cwd=tmp_path).startswith("carrousel ")


@pytest.mark.parametrize("words", [[], ["--help"], ["train"], ["data", "--help"]])
def test_help_without_a_command_lists_the_commands(words: list[str], tmp_path: Path) -> None:
    assert "Commands" in succeed(*words, cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["strem"], "'stream'"),
        (["train", "forecast", "x.csv", "-o", "r"], "'--horizon'"),
        (["train", "forecast", "x.csv", "--horizon", "many", "-o", "r"], "'--horizon'"),
        (["predict"], "'RUN'"),
        (["predict", "--colour", "r"], "'--colour'"),
        (["predict", "forecast", "r", "--colour"], "--colour"),
        (["demo", "--colour"], "--colour"),
        (["data", "get", "etth7"], "etth7"),
    ],
)
def test_a_misspelt_command_or_option_is_one_line_and_exit_2(words: list[str], says: str, tmp_path: Path) -> None:
    assert says in refusal(*words, cwd=tmp_path)


def test_a_fault_of_ours_is_a_traceback_and_exit_1(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli, "application", broken)
    assert cli.main([]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: a fault of carrousel's own; please report")


def test_a_file_in_the_folder_is_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (tmp_path / "shuffle.py").write_text(
        'EXAMPLES = ("carrousel train shuffle 3",)\n'
        'def command(number: int) -> None:\n    """Find what is odd."""\n    print(number + 1)\n'
    )
    from carrousel.cli import train

    monkeypatch.setattr(train, "__path__", [*train.__path__, str(tmp_path)])
    assert cli.main(["train", "shuffle", "3"]) == 0
    assert capsys.readouterr().out == "4\n"
    sys.modules.pop("carrousel.cli.train.shuffle")


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        (None, ()),
        (["a,b"], ("a", "b")),
        (["a", "b, c"], ("a", "b", "c")),
        (['"wind, m/s",b'], ("wind, m/s", "b")),
    ],
)
def test_columns_come_one_by_one_or_with_commas(given: list[str] | None, columns: tuple[str, ...]) -> None:
    assert words(given, "--past") == columns


@pytest.mark.parametrize("given", ["", "a,,b", ","])
def test_an_empty_column_name_is_refused(given: str) -> None:
    with pytest.raises(SettingError, match="--past: expected column names"):
        words([given], "--past")


def test_levels_are_numbers_with_commas() -> None:
    assert numbers("50, 90", "--levels") == (50.0, 90.0)
    with pytest.raises(SettingError, match="--levels: expected numbers"):
        numbers("50;90", "--levels")


def test_import_of_the_package_brings_neither_typer_nor_rich(tmp_path: Path) -> None:
    code = "import carrousel, sys; print({'typer', 'rich', 'torch', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "set()"

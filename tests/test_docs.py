"""What the documentation shows is what happens: every block of every page runs, page by page, from top to bottom."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SLOW = {"cli.md"}  # trains on a whole public set, twice
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = ("bash", "sh", "console")
# Commands that take a budget get a short one here; nothing else of them is changed.
BUDGETED = re.compile(r"\bcarrousel (train \w+|demo( [a-z]\w*)?)(?=\s|$)", re.MULTILINE)
# What is not on every machine and may not be fetched by a test.
NEEDS_DATA = re.compile(r"\bcarrousel demo (?:language|detect)\b|\btinyshakespeare\b")


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the blocks that run: Python, and shell that calls the program.

    A shell block marked ``norun`` speaks of files that the reader has and the page does not.
    """
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    shells = [(kind, text) for kind, info, text in found if kind in SHELLS and "norun" not in info]
    return [
        (kind, text)
        for kind, _, text in found
        if kind == "python" or ((kind, text) in shells and re.search(r"\bcarrousel [a-z-]", text))
    ]


def shell(text: str) -> str:
    """A shell block as it is run: without the prompts of a console, the output below them, and long budgets."""
    lines = text.splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    script = re.sub(r"--minutes[ =]\S+", "", "\n".join(lines))
    return BUDGETED.sub(r"\g<0> --minutes 0.05", script)


def run(script: list[str], folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        script, cwd=folder, env={**os.environ, "PATH": path}, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(script)}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.slow] if page.name in SLOW else [])
        for page in PAGES
    ],
)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for kind, text in blocks(page):
        if NEEDS_DATA.search(text) and "CARROUSEL_DATA" not in os.environ:
            continue
        if kind == "python":
            exec(compile(text, str(page), "exec"), namespace)
        else:
            run(["bash", "-euo", "pipefail", "-c", shell(text)], tmp_path)


def test_a_block_that_fails_is_not_passed_over(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\ncarrousel predict nowhere --minutes 9\n```\n```text\nnot run\n```\n```python\n1 / 0\n```\n"
    )
    (_, command), (kind, code) = blocks(page)
    with pytest.raises(AssertionError, match="no folder"):
        run(["bash", "-euo", "pipefail", "-c", shell(command)], tmp_path)
    assert (kind, code) == ("python", "1 / 0\n")


def test_only_the_budget_of_a_shown_command_is_changed() -> None:
    assert shell("carrousel demo -o x --minutes 9\n").split() == ["carrousel", "demo", "--minutes", "0.05", "-o", "x"]
    assert shell("$ carrousel data list\nname title\n") == "carrousel data list"


def test_command_line_page_says_what_the_program_says() -> None:
    run([sys.executable, str(ROOT / "docs/generate_cli.py"), "--check"], ROOT)


class References(HTMLParser):
    """What a browser would load with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        loaded = values.get("href") if tag == "link" and values.get("rel") != "canonical" else values.get("src")
        if loaded:
            self.found.append(loaded)


def test_documentation_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    run([str(Path(sys.executable).with_name("mkdocs")), "build", "--strict", "-d", str(tmp_path)], ROOT)
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) >= 4
    for page in pages:
        references = References()
        references.feed(page.read_text(encoding="utf-8"))
        assert references.found
        assert not [r for r in references.found if re.match(r"(https?:)?//", r)], page

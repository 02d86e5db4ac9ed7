"""What imports what: rooms only from rooms above them, and nothing heavy where a saved model is run."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "carrousel"
HEAVY = [
    "torch", "transformers", "keras", "onnx", "pandas", "polars", "pyarrow", "typer", "rich", "accelerate",
    "statsforecast",
]  # fmt: skip

# From the top of the flow of data to its bottom; files on one line form one room.
ROOMS = [
    ["errors", "config", "architecture"],
    ["data"],
    ["features"],
    ["layers"],
    ["heads"],
    ["metrics"],
    ["training"],
    ["artifact", "folder", "digest"],
    ["interop"],
    ["engine", "session", "route", "native", "numpy_engine", "kernel"],
    ["online"],
    ["stream"],
    ["tasks"],
    ["serve", "compare", "inspect", "doctor", "bench"],
    ["report"],
    ["demo"],
    ["cli"],
]
RANK = {name: rank for rank, room in enumerate(ROOMS) for name in room}


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and name of every module that code imports, at the top or in a function, but not for types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "carrousel":
                yield from ((node.lineno, f"carrousel.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module
        yield from imported(node, package)


def violations(file: Path, source: str) -> list[str]:
    """Imports of a file that point from the top of the flow to its bottom."""
    own = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    found: list[str] = []
    for line, module in imported(ast.parse(source), file.relative_to(SOURCE.parent).parts[:-1]):
        package, _, rest = module.partition(".")
        room = rest.partition(".")[0]
        if package == "carrousel" and room in RANK and RANK[room] > RANK[own]:
            found.append(f"{file.relative_to(SOURCE)}:{line} imports {module}")
    return found


FILES = sorted(file for file in SOURCE.rglob("*.py") if file != SOURCE / "__init__.py")


def test_every_module_stands_in_a_room():
    unknown = {file.relative_to(SOURCE).parts[0].removesuffix(".py") for file in FILES} - set(RANK)
    assert not unknown, "add them to ROOMS, at their place in the flow of data"


def test_imports_point_only_up_the_flow_of_data():
    assert [line for file in FILES for line in violations(file, file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "source",
    [
        "import carrousel.tasks.forecast",
        "from carrousel.engine import Engine",
        "from carrousel import stream",
        "from ..stream import Forecast",
        "from .. import stream",
        "def f():\n    from carrousel.tasks import forecast",
        "if x:\n    import carrousel.cli",
    ],
)
def test_an_import_down_the_flow_is_found(source):
    assert len(violations(SOURCE / "data" / "panel.py", source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from carrousel.errors import DataError",
        "from carrousel import __version__",
        "import numpy.typing",
        "from . import grid",
        "from .grid import regular",
        "if TYPE_CHECKING:\n    from carrousel.tasks import forecast",
    ],
)
def test_an_import_up_the_flow_or_for_types_is_let_pass(source):
    assert violations(SOURCE / "data" / "panel.py", source) == []


def loaded_by(script: str) -> set[str]:
    """The heavy packages that a script brings into a fresh process."""
    code = textwrap.dedent(script) + f"\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["", ".engine", ".artifact", ".stream", ".doctor"])
def test_what_runs_a_model_imports_no_heavy_package(module):
    assert loaded_by(f"import carrousel{module}") == set()


def test_saving_loading_and_running_a_network_imports_no_heavy_package(tmp_path):
    script = f"""
        import numpy as np
        from carrousel import artifact
        from carrousel.architecture import LSTM, Architecture
        from carrousel.engine import Engine
        architecture = Architecture((LSTM(name="lstm", input_size=2, hidden_size=3),))
        weights = {{k: np.ones(v, np.float32) for k, v in architecture.tensors().items()}}
        model = artifact.Artifact(task="forecast", architecture=architecture, weights=weights, settings={{}})
        artifact.save({str(tmp_path / "model")!r}, model)
        session = Engine.load({str(tmp_path / "model")!r}).session()
        session.run(np.ones((1, 5, 2), np.float32))
        session.fork([0]).step(np.ones((1, 2), np.float32))
    """
    assert loaded_by(script) == set()


def test_loading_and_running_a_language_model_imports_no_heavy_package(tmp_path):
    from carrousel import LanguageModel
    from carrousel.training import silent

    model = LanguageModel(hidden_size=8, embedding_size=4, batch_size=2, max_steps=2).fit("abc " * 20, progress=silent)
    model.save(tmp_path / "run")
    script = f"""
        import carrousel
        model = carrousel.load({str(tmp_path / "run")!r})
        model.generate("abc", tokens=5, seed=0)
        model.generate("abc", tokens=5, beams=2)
        model.score("abc abc"), model.baseline("abc abc")
        model.stream().push("abc")
        model.save({str(tmp_path / "again")!r})
    """
    assert loaded_by(script) == set()

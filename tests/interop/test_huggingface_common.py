"""transformers' own tests of models pass on ours, but for those that the documentation names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import transformers

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("huggingface_common.py")
TESTED = "5.24.0"


def source(folder: Path) -> Path:
    """The folder of transformers' source, as in the runner; the sdist from PyPI is kept in the user's cache."""
    if "TRANSFORMERS_SOURCE" in os.environ:
        return Path(os.environ["TRANSFORMERS_SOURCE"])
    name = f"transformers-{transformers.__version__}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carrousel"
    archive = cache / f"{name}.tar.gz"
    if not archive.exists():
        command = ["download", "--quiet", "--no-deps", "--no-binary", "transformers", "--no-build-isolation"]
        requirement = f"transformers=={transformers.__version__}"
        done = subprocess.run(
            [sys.executable, "-m", "pip", *command, "--dest", str(folder), requirement],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("transformers' source cannot be downloaded")
        cache.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / archive.name, archive)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, [one for one in tar if one.name.startswith(f"{name}/tests/")], filter="data")
    return folder / name


@pytest.mark.slow
def test_transformers_own_tests_of_models_pass(tmp_path):
    environment = {**os.environ, "TRANSFORMERS_SOURCE": str(source(tmp_path)), "HF_HUB_OFFLINE": "1"}
    options = ["-c", os.devnull, "-q", "-W", "ignore", "-p", "no:cacheprovider", "--import-mode=importlib", "-rs"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(RUNNER)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    if transformers.__version__ == TESTED:
        assert int(passed[1]) >= 151, done.stdout


def test_the_documentation_names_what_does_not_apply():
    page = (ROOT / "docs" / "huggingface.md").read_text(encoding="utf-8")
    left_out = re.findall(r'^    "(test_\w+)": ', RUNNER.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(left_out) >= 4
    assert [name for name in left_out if f"`{name}`" not in page] == []

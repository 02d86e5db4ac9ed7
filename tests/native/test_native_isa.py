"""The engine's tests once more with every instruction set of this machine but the best, on which all others run."""

from __future__ import annotations

import os
import sys

import pytest

from carrousel import native
from compiled import ROOT, run

MODULE = native.module()
SUPPORTED = [name for name, supported, *_ in MODULE.instruction_sets() if supported] if MODULE else []


@pytest.mark.slow
@pytest.mark.parametrize("isa", [*(name for name in SUPPORTED if name != native.chosen()), "numpy"])
def test_the_engine_s_tests_pass_with_every_instruction_set(isa: str):
    if MODULE is None:
        pytest.skip("needs the native engine; without it all other tests run on NumPy")
    files = sorted((ROOT / "tests").glob("test_engine*.py"))
    assert files
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files)
    assert " passed" in run(*command, cwd=ROOT, env=os.environ | {"CARROUSEL_ISA": isa}).stdout

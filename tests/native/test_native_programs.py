"""The engine's tests in C++: as built, under sanitizers and Valgrind, with hostile files, and on another processor."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from carrousel import native
from compiled import ROOT, build, programs, run, sanitized, tool

CORPUS = sorted((ROOT / "native" / "fuzz" / "corpus").iterdir())
SANITIZERS = {"ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
CROSS = "aarch64-linux-gnu-g++"


def passed(*command: str | Path, **options: object) -> int:
    """How many tests a test program passed."""
    found = re.fullmatch(r"(\d+) passed, 0 failed\n", run(*command, **options).stdout)
    assert found is not None
    return int(found[1])


def test_the_native_engine_is_built_where_there_is_a_compiler():
    if sys.platform == "win32" or not shutil.which("c++"):
        pytest.skip("needs a C++ compiler")
    assert native.module() is not None, native.why_missing


def test_the_tests_in_c_plus_plus_pass():
    assert passed(programs() / "carrousel_tests") > 40


@pytest.mark.slow
def test_the_tests_in_c_plus_plus_pass_under_sanitizers():
    assert passed(sanitized() / "carrousel_tests", env=os.environ | SANITIZERS) > 40


@pytest.mark.slow
def test_hostile_files_do_no_harm():
    assert len(CORPUS) > 10
    result = run(sanitized() / "carrousel_replay", *CORPUS, env=os.environ | SANITIZERS)
    assert result.stdout == f"{len(CORPUS)} files\n"


def test_valgrind_finds_no_leak_and_steps_that_allocate_nothing():
    valgrind = tool("valgrind")
    soak = programs() / "carrousel_soak"

    def allocations(steps: int) -> str:
        """What valgrind says of the heap after so many steps; it exits with 9 for an error or a leak."""
        command = (valgrind, "--leak-check=full", "--show-leak-kinds=all", "--errors-for-leak-kinds=all")
        text = run(*command, "--error-exitcode=9", soak, str(steps)).stderr
        found = re.search(r"total heap usage: ([\d,]+) allocs", text)
        assert found is not None, text
        return found[1]

    assert allocations(1_000) == allocations(20_000)


def test_kernels_share_no_code_with_anything_compiled_for_another_processor():
    objects = sorted(programs().glob("CMakeFiles/carrousel_kernel_*.dir/*kernel.cpp.o"))
    assert objects
    for file in objects:
        symbols = [line.split()[-2:] for line in run(tool("nm"), "--defined-only", "-C", file).stdout.splitlines()]
        isa = file.parent.name.removeprefix("carrousel_kernel_").removesuffix(".dir")
        shared = [name for kind, name in symbols if kind.isupper()]
        # Its own table and nothing that another translation unit might have as well.
        assert shared
        assert [name for name in shared if not name.endswith(f"_{isa}")] == []


@pytest.mark.slow
def test_the_tests_in_c_plus_plus_pass_on_64_bit_arm():
    emulator = tool("qemu-aarch64", "qemu-aarch64-static")
    folder = build(
        "aarch64",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={tool(CROSS)}",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
        "-DCARROUSEL_TESTS=ON",
        "-DCARROUSEL_WERROR=ON",
        targets=("carrousel_tests",),
    )
    assert passed(emulator, folder / "carrousel_tests") > 40

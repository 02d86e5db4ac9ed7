"""The programs of native/, compiled once for all tests and kept between runs under build/native/."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "native"


def tool(*names: str) -> str:
    """The first of some programs that this machine has; skips the test where there is none."""
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip(f"needs {' or '.join(names)}")
    return found


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """A program's result; its output is the message where it fails."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, f"{command[0]} exited with {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


def build(name: str, *options: str, source: str = "native", targets: tuple[str, ...] = ()) -> Path:
    """The folder where a source of this repository is built with some options of CMake."""
    cmake = tool("cmake")
    tool(os.environ.get("CXX", "c++"))
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # the tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        run(cmake, "-S", ROOT / source, "-B", folder, *generator, *options)
        run(cmake, "--build", folder, "--parallel", "2", *(["--target", *targets] if targets else []))
    return folder


def programs() -> Path:
    """Where the tests' programs are, built as a user's are, with warnings as errors."""
    return build("plain", "-DCARROUSEL_TESTS=ON", "-DCARROUSEL_WERROR=ON")


def sanitized() -> Path:
    """The same with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return build("sanitized", "-DCARROUSEL_TESTS=ON", "-DCARROUSEL_SANITIZE=address,undefined")

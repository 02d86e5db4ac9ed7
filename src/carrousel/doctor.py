"""What runs here and why: the engine's kernels, versions, processor, caches, memory. No framework is imported."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import carrousel
from carrousel import native

# What trains, what Carrousel is compared with, and what it reads networks of.
PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "openvino", "keras")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
COMPILERS = ("c++", "g++", "clang++")


@dataclass(frozen=True)
class Kernels:
    """One instruction set.

    Parameters
    ----------
    runs : here
    lacks : what the processor would need, or ""
    lanes : float32 values in a vector; 0 for NumPy, whose own libraries decide
    chosen : new engines use it
    """

    name: str
    runs: bool
    lacks: str
    lanes: int
    chosen: bool


@dataclass(frozen=True)
class Findings:
    """What ``examine`` found.

    Parameters
    ----------
    versions : by package; None where one is not installed
    kernels : slowest first
    forced : by CARROUSEL_ISA
    native : the compiled module was built
    why_missing : of the compiled module, or ""
    compiler : the C++ compiler on the path, or ""
    cores, usable : of the machine, and those that this process may run on
    caches : bytes by level ("L1d", "L2", "L3"), as far as the system says
    memory : bytes, None where the system does not say
    advice : what to do about what is missing, or ""
    """

    versions: dict[str, str | None]
    kernels: list[Kernels]
    forced: bool
    native: bool
    why_missing: str
    compiler: str
    processor: str
    system: str
    cores: int
    usable: int
    threads: dict[str, str]
    caches: dict[str, int]
    memory: int | None
    advice: str

    @property
    def isa(self) -> str:
        """The chosen instruction set, or "numpy"."""
        return next(kernels.name for kernels in self.kernels if kernels.chosen)

    def to_data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"isa": self.isa, **asdict(self)}


def examine() -> Findings:
    """Look at this machine.

    Raises
    ------
    SettingError : CARROUSEL_ISA names kernels that do not run here
    """
    isa, module = native.chosen(), native.module()
    kernels = [Kernels("numpy", True, "", 0, isa == "numpy")]
    if module is not None:
        kernels += [
            Kernels(name, runs, lacks, lanes, name == isa) for name, runs, lacks, lanes in module.instruction_sets()
        ]
    versions = {"carrousel": carrousel.__version__, "python": platform.python_version()}
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), "")
    return Findings(
        versions=versions | {name: installed(name) for name in PACKAGES},
        kernels=kernels,
        forced=bool(os.environ.get("CARROUSEL_ISA")),
        native=module is not None,
        why_missing=native.why_missing,
        compiler=compiler,
        processor=processor(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        usable=len(usable_cores()),
        threads={name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in os.environ},
        caches=caches(),
        memory=memory(),
        advice=_advice(module is not None, isa, compiler),
    )


def _advice(built: bool, isa: str, compiler: str) -> str:
    if not built:
        getting = "install a C++20 compiler (apt install g++, or on macOS xcode-select --install), then "
        again = "pip install --force-reinstall --no-deps -v carrousel, which says what it lacks"
        return f"the native engine was not built: {'' if compiler else getting}{again}"
    if isa in ("numpy", "portable") and os.environ.get("CARROUSEL_ISA"):
        return f"CARROUSEL_ISA={isa} keeps the faster kernels out; unset it to get the best ones"
    return ""


def installed(package: str) -> str | None:
    """Version of a package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """Its name, as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def caches() -> dict[str, int]:
    """Bytes of each level that holds data."""
    sizes: dict[str, int] = {}
    for folder in sorted(CACHES.glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction" and size.endswith("K"):
            sizes[f"L{level}{'d' if kind == 'Data' else ''}"] = int(size[:-1]) << 10
    module = native.module()
    if not sizes and module is not None:  # what the C library says; inside virtual machines it may be the whole host's
        sizes = {name: n for name, n in zip(("L1d", "L2", "L3"), module.cache_sizes(), strict=True) if n}
    return sizes


def memory() -> int | None:
    """Bytes of the machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def machine() -> str:
    """Processor, cores, memory and system, in one line."""
    size = memory()
    room = [] if size is None else [f"{size / 2**30:.0f} GiB"]
    return ", ".join([processor(), f"{os.cpu_count() or 1} cores", *room, f"{platform.system()} {platform.machine()}"])

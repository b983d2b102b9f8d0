"""Collects the wheels of a bundle: packages from the index, llama.cpp compiled, hpcagent itself."""

import glob
import os
import shutil
import sys
import zipfile
from typing import Dict, List, NamedTuple

from hpcagent.bootstrap import llama
from hpcagent.bootstrap.bundle_licences import normal
from hpcagent.bootstrap.needs import SetupError, pip_trouble
from hpcagent.bootstrap.screen import compile_detail, pip_detail
from hpcagent.bootstrap.setup import Builder

LEFT_OUT = (".*", "__pycache__", "build", "dist", "runs", "tests", "docs", "*.egg-info")
NOT_BUNDLED = frozenset(("bundle", "hpcagent", "test"))  # of bin/: they need a checkout
PYTHON_FILES = (".py", ".pyi")


class Collected(NamedTuple):
    wheels: List[str]
    compiled: List[str]  # names of wheels that were compiled here, llama.cpp's left out


def collect(builder: Builder, folder: str, date: int) -> Collected:
    """All wheels in `folder`; progress in three phases of the builder's screen."""
    with builder.screen.phase("llama.cpp"):
        builder.environment()
        compiled = [builder.cached(text) or builder.build(text) for text in builder.llama]
    with builder.screen.phase("packages"):
        words = ["wheel", "--prefer-binary", "--progress-bar", "off", "-w", folder]
        _pip(builder, [*words, *builder.source(), *builder.packages, *compiled, "pip"])
    with builder.screen.phase("hpcagent"):
        _own_wheel(builder, folder, date)
    wheels = sorted(glob.glob(os.path.join(glob.escape(folder), "*.whl")))
    local = [os.path.basename(path) for path in wheels if path.endswith("-linux_%s.whl" % _arch())]
    return Collected(wheels, [name for name in local if distribution(name) != llama.NAME])


def _arch() -> str:
    return os.uname().machine


def distribution(wheel: str) -> str:
    """The normalised name of what a wheel holds."""
    return normal(os.path.basename(wheel).split("-")[0])


def _own_wheel(builder: Builder, folder: str, date: int) -> None:
    """From a copy, as a build writes into its source."""
    copy = os.path.join(builder.temporary, "checkout")
    shutil.copytree(builder.plan.root, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    words = ["wheel", "--no-deps", "--progress-bar", "off", "-w", folder, *builder.source(), copy]
    # A wheel is a zip archive, which knows no time before 1980.
    _pip(builder, words, SOURCE_DATE_EPOCH=str(max(date, 315532800)))


def _pip(builder: Builder, words: List[str], **more: str) -> None:
    env: Dict[str, str] = {**builder.env, **more}
    code, output = builder.run_pip(words, env, compile_detail if more else pip_detail)
    if code != 0:
        trouble = pip_trouble(output, builder.plan.wheelhouse)
        raise SetupError("%s; the whole output is in %s" % (trouble, builder.plan.log))


def unpacked_bytes(wheels: List[str]) -> int:
    """What an installation of these wheels takes, with bytecode of about the source's size."""
    total = 0
    for path in wheels:
        with zipfile.ZipFile(path) as wheel:
            for info in wheel.infolist():
                total += info.file_size * (2 if info.filename.endswith(PYTHON_FILES) else 1)
    return total


def stage_programs(root: str, folder: str) -> None:
    """The installer and the programs of bin/ that an installation has."""
    package = os.path.join(folder, "installer", "hpcagent")
    shutil.copytree(
        os.path.join(root, "hpcagent", "bootstrap"),
        os.path.join(package, "bootstrap"),
        ignore=shutil.ignore_patterns("__pycache__", "bundle*"),
    )
    shutil.copyfile(
        os.path.join(root, "hpcagent", "__init__.py"), os.path.join(package, "__init__.py")
    )
    os.makedirs(os.path.join(folder, "bin"), exist_ok=True)
    for name in sorted(os.listdir(os.path.join(root, "bin"))):
        source = os.path.join(root, "bin", name)
        if name not in NOT_BUNDLED and os.path.isfile(source) and not name.startswith("."):
            shutil.copy(source, os.path.join(folder, "bin", name))


def tool_for(gpu: str) -> str:
    """The compiler that a GPU build needs and that is not here; empty where all is well."""
    programs = {
        "cuda": ("nvcc", "CUDACXX", "/usr/local/cuda/bin/nvcc"),
        "hip": ("hipcc", "HIPCXX", "/opt/rocm/bin/hipcc"),
    }
    if gpu not in programs:
        return ""
    program, variable, usual = programs[gpu]
    if os.environ.get(variable) or shutil.which(program) or os.path.exists(usual):
        return ""
    return program


def python_tag() -> str:
    return "cp%d%d" % sys.version_info[:2]

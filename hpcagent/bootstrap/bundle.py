"""Makes one archive that installs hpcagent where there is no network; bin/bundle runs it.

Standard library only: it needs a Python with venv and ensurepip, and (once) a package index and
compilers, as bin/hpcagent does. The compiled llama.cpp is shared with it through its cache.
"""

import argparse
import os
import platform
import shlex
import sys
import sysconfig
import tempfile
from typing import Callable, List, NamedTuple, Tuple

from hpcagent import __version__
from hpcagent.bootstrap import bundle_archive as archive
from hpcagent.bootstrap import bundle_elf, llama
from hpcagent.bootstrap import bundle_wheels as collecting
from hpcagent.bootstrap.bundle_entry import install_script, read_me
from hpcagent.bootstrap.bundle_licences import Licence, read_licence, write_licences
from hpcagent.bootstrap.install_check import abi_of
from hpcagent.bootstrap.install_manifest import SAFE_PATH, Manifest, Package, Platform
from hpcagent.bootstrap.needs import SetupError, check_space, name_of, requirements
from hpcagent.bootstrap.screen import Screen
from hpcagent.bootstrap.setup import Builder, Plan, locked

WHEELS_BYTES = 300 * 10**6  # what the wheels take in the archive, with some room
GGUF_MAGIC = b"GGUF"
DESCRIPTION = """\
Makes one archive with everything that hpcagent needs: wheels (the compiled llama-cpp-python and
an OpenBLAS among them), hashes, licences, the installer. Run it on a connected machine of the
same kind as the cluster: architecture, Python version, a glibc that is not newer."""
EPILOG = """\
examples:
  bin/bundle                                    the portable CPU variant
  bin/bundle --model tuner.gguf -o /media/usb/  with a language model
  bin/bundle --llama-cmake-args "-DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=80;90"
  HPCAGENT_PYTHON=python3.12 bin/bundle         for a cluster with Python 3.12

on the cluster:
  tar xf hpcagent-VERSION-linux-x86_64-cp311.tar
  hpcagent-VERSION-linux-x86_64-cp311/install --prefix DIR

environment: HPCAGENT_PYTHON, HPCAGENT_CACHE, HPCAGENT_WHEELHOUSE (packages from a folder instead
of the index), HPCAGENT_LLAMA_CMAKE_ARGS, SOURCE_DATE_EPOCH (the time of all files in the archive)
exit codes: 0 done, 2 usage, 3 environment, 130 interrupted"""


class Request(NamedTuple):
    root: str
    cache: str
    output: str  # as given; may be empty or a folder
    models: List[str]
    sources: List[str]
    llama_args: str
    force: bool
    dry_run: bool


def read_request(words: List[str]) -> Request:
    parser = argparse.ArgumentParser(
        prog="bin/bundle",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-o", "--output", default="", metavar="FILE", help="the archive, or a folder for it")
    cmake_args = os.environ.get("HPCAGENT_LLAMA_CMAKE_ARGS", "")
    add("--llama-cmake-args", default=cmake_args, metavar="ARGS", help="CMake arguments of "
        "llama.cpp, in one word [default: $HPCAGENT_LLAMA_CMAKE_ARGS]")  # fmt: skip
    add("--model", action="append", default=[], metavar="FILE",
        help="a GGUF model to take along; may be repeated")  # fmt: skip
    add("--source", action="append", default=[], metavar="ARCHIVE",
        help="a source archive (of a library to tune) to take along; may be repeated")  # fmt: skip
    add("--force", action="store_true", help="replace the archive if it exists")
    add("--dry-run", action="store_true", help="show what would go in, and make nothing")
    add("--root", required=True, help=argparse.SUPPRESS)
    add("--cache", required=True, help=argparse.SUPPRESS)
    given = parser.parse_args(join_cmake_args(words))
    return Request(
        given.root, given.cache, given.output, given.model, given.source,
        given.llama_cmake_args, given.force, given.dry_run,
    )  # fmt: skip


def join_cmake_args(words: List[str]) -> List[str]:
    """argparse takes a value that begins with a dash only behind an equals sign."""
    option = "--llama-cmake-args"
    if option not in words[:-1]:
        return words
    at = words.index(option)
    return [*words[:at], "%s=%s" % (option, words[at + 1]), *words[at + 2 :]]


class Target(NamedTuple):
    """Where the archive goes and what is known of it before it is made."""

    path: str
    top: str  # the folder in it
    cmake_args: List[str]
    cpu: str
    cpu_flags: List[str]
    gpu: str


def plan_target(request: Request) -> Target:
    try:
        more = shlex.split(request.llama_args)
    except ValueError as error:
        raise SetupError("--llama-cmake-args %r: %s" % (request.llama_args, error)) from None
    machine, flags = platform.machine(), llama.cpu_flags()
    args, _ = llama.cmake_arguments(machine, flags, more)
    cpu, cpu_flags = llama.cpu_baseline(machine, flags, args)
    gpu = llama.gpu_variant(args)
    system = platform.system().lower()
    words = ["hpcagent", __version__, system, machine, collecting.python_tag()]
    top = "-".join(words + ([gpu] if gpu != "none" else []))
    path = os.path.abspath(os.path.expanduser(request.output or "."))
    if os.path.isdir(path) or request.output.endswith("/"):
        path = os.path.join(path, top + ".tar")
    return Target(path, top, args, cpu, cpu_flags, gpu)


def check(request: Request, target: Target) -> None:
    """The destination and what was named, before any work is done."""
    folder = os.path.dirname(target.path)
    if not os.path.isdir(folder):
        raise SetupError("-o %s: there is no folder %s" % (target.path, folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SetupError("-o %s: you may not write in %s" % (target.path, folder))
    if os.path.lexists(target.path) and not request.force:
        raise SetupError("%s exists; --force replaces it" % target.path)
    for label, paths in (("--model", request.models), ("--source", request.sources)):
        for path in paths:
            _check_file(label, path)
    names = [os.path.basename(path) for path in request.models + request.sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SetupError("%s is named twice; rename one of them" % twice[0])
    check_space(folder, WHEELS_BYTES + extra_bytes(request), "-o")


def _check_file(label: str, path: str) -> None:
    try:
        with open(path, "rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise SetupError("%s %s: %s" % (label, path, error.strerror)) from None
    if label == "--model" and magic != GGUF_MAGIC:
        raise SetupError("--model %s: this is no GGUF file" % path)
    if not SAFE_PATH.fullmatch(os.path.basename(path)):
        raise SetupError(
            "%s %s: name it with letters, digits, blanks and _+.,=@~- only" % (label, path)
        )


def extra_bytes(request: Request) -> int:
    return sum(os.path.getsize(path) for path in request.models + request.sources)


def show_plan(request: Request, target: Target, builder: Builder) -> None:
    lines = ["Dry run: nothing is made.", "archive   " + target.path]
    lines.append("platform  %s, CPU %s" % (target.top, target.cpu))
    for text in [*builder.packages, "pip"]:
        lines.append("package   " + text)
    for text in builder.llama:
        place = builder.cached(text)
        how = "compiled already: %s" % place if place else "to be compiled, which takes minutes"
        if llama.in_wheelhouse(builder.plan.wheelhouse):
            how = "from the wheelhouse " + builder.plan.wheelhouse
        lines += ["package   " + text, "          " + how]
        lines.append("          " + " ".join(target.cmake_args))
    lines.append("package   hpcagent %s, from %s" % (__version__, request.root))
    for label, paths in (("model", request.models), ("source", request.sources)):
        for path in paths:
            lines.append("%-9s %s, %d MB" % (label, path, os.path.getsize(path) // 10**6))
    sys.stdout.write("\n".join(lines) + "\n")


def needs_words(cpu: str, glibc: str) -> str:
    return "CPU %s, glibc %s" % (cpu, glibc)


# --- making it -----------------------------------------------------------------------------------


def make(request: Request, target: Target, builder: Builder, staging: str) -> Tuple[Manifest, str]:
    """The manifest, and its hash, of the archive that was written."""
    screen = builder.screen
    date = archive.source_date(request.root)
    wheels = os.path.join(staging, "wheels")
    os.makedirs(wheels)
    collected = collecting.collect(builder, wheels, date)
    for name in collected.compiled:
        screen.say("    note: %s has no wheel for this platform and was compiled here" % name)
    with screen.phase("licences and hashes"):
        licences = [read_licence(path) for path in collected.wheels]
        without = write_licences(os.path.join(staging, "licences"), licences)
        if without:
            screen.say("    note: no licence file in the wheels of %s" % ", ".join(without))
        system = platform_of(target, collected.wheels)
        stage_texts(request, staging, system)
        entries = archive.folder_entries(staging, "") + named_entries(request)
        told = progress(screen, sum(os.path.getsize(entry.source) for entry in entries))
        manifest = Manifest(
            version=__version__,
            revision=archive.git(request.root, "describe", "--always", "--dirty"),
            platform=system,
            requirements=[name_of(text) for text in requirements(request.root, "")],
            llama_cmake_args=target.cmake_args,
            installed_bytes=installed_bytes(request, collected.wheels),
            packages=package_list(collected.wheels, licences),
            files=archive.members(entries, told),
        )
    with screen.phase("archive"):
        sources = {entry.path: entry.source for entry in entries}
        told = progress(screen, sum(member.size for member in manifest.files))
        digest = archive.write_archive(target.path, target.top, manifest, sources, date, told)
    return manifest, digest


def installed_bytes(request: Request, wheels: List[str]) -> int:
    """With a tenth to spare, for blocks and what is temporary."""
    return (collecting.unpacked_bytes(wheels) + extra_bytes(request)) * 11 // 10


def platform_of(target: Target, wheels: List[str]) -> Platform:
    glibc, libraries = bundle_elf.summary(bundle_elf.wheel_needs(wheels))
    return Platform(
        system=platform.system().lower(),
        machine=platform.machine(),
        python="%d.%d" % sys.version_info[:2],
        abi=abi_of(sysconfig.get_config_var("SOABI")),
        glibc=glibc,
        cpu=target.cpu,
        cpu_flags=target.cpu_flags,
        gpu=target.gpu,
        libraries=libraries,
    )


def stage_texts(request: Request, staging: str, system: Platform) -> None:
    collecting.stage_programs(request.root, staging)
    install = os.path.join(staging, "install")
    with open(install, "w", encoding="ascii") as stream:
        stream.write(install_script(system.python))
    os.chmod(install, 0o755)
    needs = "It needs: " + needs_words(system.cpu, "%s or newer" % system.glibc)
    with open(os.path.join(staging, "README.txt"), "w", encoding="ascii") as stream:
        stream.write(read_me(__version__, system.python, system.machine, needs))


def named_entries(request: Request) -> List[archive.Entry]:
    """Models and sources; they are read where they are."""
    return [
        archive.Entry("%s/%s" % (folder, os.path.basename(path)), path, False)
        for folder, paths in (("models", request.models), ("sources", request.sources))
        for path in paths
    ]


def package_list(wheels: List[str], licences: List[Licence]) -> List[Package]:
    packages = []
    for path, found in zip(wheels, licences):  # noqa: B905  (strict= came with Python 3.10)
        wheel = os.path.basename(path)
        packages.append(Package(found.name, found.version, wheel, found.licence))
    return packages


def progress(screen: Screen, total: int) -> Callable[[int], None]:
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        screen.detail = "%d of %d MB" % (done // 10**6, total // 10**6)
        screen.tick()

    return tell


def tell_result(target: Target, manifest: Manifest, digest: str, screen: Screen) -> None:
    system = manifest.platform
    size = os.path.getsize(target.path)
    say = screen.say
    say("bundle: %s, %.1f MB, %d files" % (target.path, size / 1e6, len(manifest.files) + 1))
    say("  for %s %s, Python %s, %s, GPU: %s" % (
        system.system, system.machine, system.python,
        needs_words(system.cpu, "%s or newer" % system.glibc), system.gpu,
    ))  # fmt: skip
    say("  manifest SHA-256 %s" % digest)
    say("  on the cluster: tar xf %s" % os.path.basename(target.path))
    say("                  %s/install --prefix DIR --sha256 %s" % (target.top, digest))


def run(request: Request, screen: Screen) -> None:
    os.environ["HPCAGENT_LLAMA_CMAKE_ARGS"] = request.llama_args  # Builder reads it
    target = plan_target(request)
    check(request, target)
    wheelhouse = os.environ.get("HPCAGENT_WHEELHOUSE", "")
    name = "bundle-%s-%s" % (collecting.python_tag(), platform.machine())
    plan = Plan(
        root=request.root,
        venv=os.path.join(request.cache, name),
        key="",
        extra="embedded",
        wheelhouse=os.path.abspath(wheelhouse) if wheelhouse else "",
        cache=request.cache,
    )
    with tempfile.TemporaryDirectory(prefix="hpcagent-bundle-") as temporary:
        if request.dry_run:
            show_plan(request, target, Builder(plan, screen, -1, temporary))
            return
        with locked(plan, screen) as lock:
            builder = Builder(plan, screen, lock, temporary)
            check_tools(target, builder)
            builder.check(True, builder.llama)
            manifest, digest = make(request, target, builder, os.path.join(temporary, "bundle"))
    tell_result(target, manifest, digest, screen)


def check_tools(target: Target, builder: Builder) -> None:
    missing = collecting.tool_for(target.gpu)
    if missing and not all(builder.cached(text) for text in builder.llama):
        raise SetupError(
            "a %s build of llama.cpp needs %s, which is not in PATH; load the module that has it"
            % (target.gpu, missing)
        )


def main(words: List[str]) -> int:
    """The exit code: 0, 2 for usage (by argparse), 3, or 130 when interrupted."""
    request = read_request(words)
    live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    screen = Screen(sys.stderr, live, phases=5)
    try:
        run(request, screen)
    except SetupError as error:
        screen.say("bundle: %s" % error)
        return 3
    except OSError as error:
        where = " %s:" % error.filename if error.filename else ""
        screen.say("bundle:%s %s" % (where, error.strerror or error))
        return 3
    except KeyboardInterrupt:
        screen.say("bundle: interrupted; no archive was made")
        return 130
    return 0

"""Makes the tree of an installation under a temporary name, from a verified bundle.

The virtual environment holds no script with its own path in it (the launcher finds its place when
it is started, Python finds `pyvenv.cfg` beside itself), so it may be renamed. Bytecode is made
with the final path, for tracebacks. Nothing here uses the network or reads anybody's settings.
"""

import os
import shutil
import stat
import sys
from typing import Dict, List

from hpcagent.bootstrap import llama
from hpcagent.bootstrap.install_manifest import NAME, Manifest, sha256_of
from hpcagent.bootstrap.install_place import RECORD, Link, Place
from hpcagent.bootstrap.needs import SetupError, pip_trouble
from hpcagent.bootstrap.screen import Runner, pip_detail
from hpcagent.bootstrap.setup import IMPORT_ALL

KEPT_IN_BIN = ("python",)
SITE_FILES = (
    "share/man/man1/hpcagent.1",
    "share/bash-completion/completions/hpcagent",
    "share/zsh/site-functions/_hpcagent",
    "share/fish/vendor_completions.d/hpcagent.fish",
    "modulefiles/hpcagent/%(version)s.lua",
    "modulefiles/hpcagent/%(version)s",
)
# No absolute path stands in it, so it works wherever the tree is.
LAUNCHER = """\
#!/bin/sh
# Starts the hpcagent that is installed around this file.
self=$(readlink -f -- "$0") || exit 3
exec "${self%/bin/*}/venv/bin/python" -I -m hpcagent "$@"
"""
UNINSTALL = """\
#!/bin/sh
# Removes this installation, and nothing else.
root=$(CDPATH='' cd -P -- "$(dirname -- "$0")" && pwd -P) || exit 3
exec "$root/venv/bin/python" -I -B -m hpcagent.bootstrap.install --uninstall \\
    --prefix "${root%/lib/hpcagent/*}" --release "${root##*/}"
"""


def environment(scratch: str) -> Dict[str, str]:
    """What programs of the installation see: no settings of pip or Python, no home, no network."""
    kept = ("PATH", "LD_LIBRARY_PATH")  # a Python from a module may need its libraries
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env.update(
        HOME=scratch,
        TMPDIR=scratch,
        LC_ALL="C.UTF-8",
        PIP_CONFIG_FILE=os.devnull,
        PIP_NO_INDEX="1",
        PYTHONNOUSERSITE="1",
    )
    return env


class TreeBuilder:
    """The steps of one installation, in the order in which they are called."""

    def __init__(self, bundle: str, manifest: Manifest, place: Place, runner: Runner) -> None:
        self.bundle, self.manifest, self.place, self.runner = bundle, manifest, place, runner
        self.tree = place.partial
        self.scratch = os.path.join(self.tree, "scratch")
        self.env = environment(self.scratch)

    @property
    def python(self) -> str:
        return os.path.join(self.tree, "venv", "bin", "python")

    def make_environment(self) -> str:
        """A note where this Python starts in today's environment only."""
        os.makedirs(self.scratch)
        venv = os.path.join(self.tree, "venv")
        self._run([sys.executable, "-I", "-m", "venv", "--without-pip", "--symlinks", venv])
        config = os.path.join(venv, "pyvenv.cfg")
        with open(config, encoding="utf-8") as stream:
            lines = [line for line in stream if not line.startswith("command ")]
        with open(config, "w", encoding="utf-8") as stream:
            stream.writelines(lines)  # the command holds the temporary name
        bare = {name: value for name, value in self.env.items() if name != "LD_LIBRARY_PATH"}
        code, _ = self.runner.run([self.python, "-I", "-c", "pass"], bare, pip_detail)
        if code == 0:
            return ""
        return "%s needs LD_LIBRARY_PATH: load its module before hpcagent" % sys.executable

    def install_wheels(self) -> None:
        folder = os.path.join(self.bundle, "wheels")
        wheels = [os.path.join(folder, name) for name in self.manifest.wheels()]
        self._pip(
            "install", "--no-index", "--no-deps", "--no-cache-dir", "--no-compile",
            "--no-warn-script-location", "--progress-bar", "off", *wheels,
        )  # fmt: skip
        scripts = os.path.join(self.tree, "venv", "bin")
        for name in os.listdir(scripts):
            if not name.startswith(KEPT_IN_BIN):
                os.unlink(os.path.join(scripts, name))

    def compile_bytecode(self) -> None:
        """Test data of packages is not always Python, so its exit code says nothing."""
        library = os.path.join(self.tree, "venv", "lib")
        final = os.path.join(os.path.realpath(self.place.home), self.place.version)
        words = ["-q", "-j", "0", "-s", os.path.realpath(self.tree), "-p", final, library]
        code, output = self._ask([self.python, "-I", "-B", "-m", "compileall", *words])
        if code < 0:
            raise SetupError("python -m compileall was killed: %s" % output[-300:])

    def try_imports(self) -> str:
        """A note where only the model cannot be loaded for want of a GPU's libraries."""
        names = list(self.manifest.requirements)
        note = ""
        if self.manifest.platform.gpu != "none":
            names = [name for name in names if name != llama.NAME]
            code, output = self._ask([self.python, "-I", "-B", "-c", "import llama_cpp"])
            last = (output.strip().splitlines() or [""])[-1]
            note = "" if code == 0 else "llama.cpp does not load on this machine: %s" % last
        self._run([self.python, "-I", "-B", "-c", IMPORT_ALL, *names])
        return note

    def add_files(self) -> None:
        """Programs, models, sources, licences; modulefiles, man page and completions."""
        for source, target in (
            ("bin", "bin"),
            ("licences", "share/hpcagent/licences"),
            ("models", "share/hpcagent/models"),
            ("sources", "share/hpcagent/sources"),
        ):
            for member in self.manifest.below(source):
                path = os.path.join(self.tree, target, member.path[len(source) + 1 :])
                os.makedirs(os.path.dirname(path), exist_ok=True)
                shutil.copyfile(os.path.join(self.bundle, member.path), path)
                os.chmod(path, 0o755 if member.executable else 0o644)
        for name, text in (("bin/hpcagent", LAUNCHER), ("uninstall", UNINSTALL)):
            path = os.path.join(self.tree, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii") as stream:
                stream.write(text)
            os.chmod(path, 0o755)
        shutil.copyfile(os.path.join(self.bundle, NAME), os.path.join(self.tree, NAME))
        words = ["--root", self.place.tree, "--out", self.tree]
        self._run([self.python, "-I", "-B", "-m", "hpcagent.cli.sitefiles", *words])

    def finish(self) -> None:
        """Modes as the umask says, and nothing temporary."""
        shutil.rmtree(self.scratch)
        mask = os.umask(0)
        os.umask(mask)
        for parent, _, names in os.walk(self.tree):
            os.chmod(parent, 0o777 & ~mask)
            for name in names:
                path = os.path.join(parent, name)
                if not os.path.islink(path):
                    executable = os.stat(path).st_mode & stat.S_IXUSR
                    os.chmod(path, (0o777 if executable else 0o666) & ~mask)

    def _pip(self, *words: str) -> None:
        pip = os.path.join(self.bundle, "wheels", self.manifest.pip(), "pip")
        options = ["--no-input", "--disable-pip-version-check"]
        code, output = self._ask([self.python, "-I", "-B", pip, *options, *words])
        if code != 0:
            trouble = pip_trouble(output, os.path.join(self.bundle, "wheels"))
            raise SetupError("%s; the whole output is in %s" % (trouble, self.runner.log))

    def _run(self, argv: List[str]) -> None:
        code, output = self._ask(argv)
        if code != 0:
            last = (output.strip().splitlines() or ["it ended with %d" % code])[-1]
            raise SetupError(
                "what was installed does not run: %s; the whole output is in %s"
                % (last[-400:], self.runner.log)
            )

    def _ask(self, argv: List[str]) -> "tuple[int, str]":
        return self.runner.run(argv, self.env, pip_detail)


def tree_files(tree: str) -> Dict[str, str]:
    """Each file below a tree, but its record, with its SHA-256 or "link TARGET"."""
    found = {}
    for parent, folders, names in os.walk(tree):
        for name in names + [
            name for name in folders if os.path.islink(os.path.join(parent, name))
        ]:
            path = os.path.join(parent, name)
            inside = os.path.relpath(path, tree)
            if os.path.islink(path):
                found[inside] = "link " + os.readlink(path)
            elif inside != RECORD:
                found[inside] = sha256_of(path)
    return found


def planned_links(manifest: Manifest, place: Place) -> List[Link]:
    """The names outside the tree; `hpcagent.cli.sitefiles` writes those of SITE_FILES."""
    inside = ["bin/hpcagent", "share/hpcagent/licences"]
    inside += [member.path for member in manifest.below("bin")]
    for folder in ("models", "sources"):
        inside += ["share/hpcagent/" + member.path for member in manifest.below(folder)]
    inside += [name % {"version": manifest.version} for name in SITE_FILES]
    links = [Link(name, name) for name in inside]
    for name in inside if place.module_dir else ():
        if name.startswith("modulefiles/"):
            links.append(Link(os.path.join(place.module_dir, name.partition("/")[2]), name))
    return links

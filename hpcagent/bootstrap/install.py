"""Installs hpcagent from an unpacked bundle, without any network; `install` in the bundle runs it.

Standard library only, in the grammar of Python 3.6, so that an older Python can still verify the
bundle and say that it is too old to install with.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from typing import Iterator, List, NamedTuple, NoReturn, Optional

from hpcagent.bootstrap import install_check as check
from hpcagent.bootstrap import install_place as places
from hpcagent.bootstrap.install_manifest import Manifest, read_bundle
from hpcagent.bootstrap.install_place import Place, Record
from hpcagent.bootstrap.install_tree import TreeBuilder, planned_links, tree_files
from hpcagent.bootstrap.needs import SetupError
from hpcagent.bootstrap.screen import Runner, Screen

DESCRIPTION = """\
Verifies every file of this bundle, checks this machine, and installs hpcagent at a prefix. No
network, compiler or root is needed: only a Python of the bundle's version."""
EPILOG = """\
examples:
  ./install --verify                            only compare every hash
  ./install --prefix "$HOME/hpcagent"           for yourself
  ./install --prefix /sw/hpcagent --module-dir /sw/modulefiles --python /usr/bin/python3.11
  ./install --verify --prefix /sw/hpcagent      is the installation as it was made?
  ./install --uninstall --prefix /sw/hpcagent   removes what was installed, and nothing else

afterwards:
  PREFIX/bin/hpcagent --help       or: module use PREFIX/modulefiles; module load hpcagent

exit codes: 0 done, 2 usage, 3 a file or this machine is not as it must be, 130 interrupted"""


class Request(NamedTuple):
    bundle: str  # empty where an installation removes itself
    prefix: str
    module_dir: str
    sha256: str
    release: str
    force: bool
    dry_run: bool
    action: str  # "install", "verify", "uninstall"


def read_request(words: List[str]) -> Request:
    parser = argparse.ArgumentParser(
        prog="install",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--prefix", metavar="DIR", help="where to install; it is made if it is not there")
    add("--module-dir", metavar="DIR", help="a folder of modulefiles to put hpcagent's in, too")
    add("--python", metavar="PROGRAM", help="the Python to install with [default: from PATH]")
    add("--sha256", metavar="HASH", help="the manifest's hash, as bin/bundle told it")
    add("--force", action="store_true", help="replace an installation of the same version")
    add("--dry-run", action="store_true", help="check everything and write nothing")
    add("--verify", action="store_true", help="verify the bundle (or what is in --prefix), only")
    add("--uninstall", action="store_true", help="remove what was installed in --prefix")
    add("--bundle", default="", help=argparse.SUPPRESS)
    add("--release", default="", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.verify and given.uninstall:
        parser.error("--verify and --uninstall exclude each other")
    action = "verify" if given.verify else "uninstall" if given.uninstall else "install"
    if not given.prefix and action != "verify":
        parser.error("--prefix DIR is needed: where shall it be installed?")
    return Request(
        bundle=given.bundle,
        prefix=_absolute(given.prefix),
        module_dir=_absolute(given.module_dir),
        sha256=given.sha256 or "",
        release=given.release,
        force=given.force,
        dry_run=given.dry_run,
        action=action,
    )


def _absolute(path: Optional[str]) -> str:
    """Links in it are kept: a site may move what they point to."""
    return os.path.abspath(os.path.expanduser(path)) if path else ""


def verify(request: Request, screen: Screen) -> Manifest:
    """The manifest of a bundle whose files are all as they were made."""
    manifest, digest = read_bundle(request.bundle)
    if request.sha256 and request.sha256.lower() != digest:
        raise SetupError(
            "the manifest has the SHA-256 %s, not %s: this is another bundle, or a changed one"
            % (digest, request.sha256)
        )
    total = max(1, sum(member.size for member in manifest.files))
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        screen.detail = "%d of %d MB" % (done // 10**6, total // 10**6)
        screen.tick()

    with screen.phase("hashes of %d files" % len(manifest.files)):
        problems = check.hash_problems(request.bundle, manifest, tell)
        if problems:
            raise SetupError(
                "the bundle is not as it was made; nothing was written. Copy and unpack it "
                "again:\n%s" % check.listed(problems)
            )
    screen.say("    manifest SHA-256 " + digest)
    return manifest


def check_libraries(manifest: Manifest, screen: Screen) -> None:
    problems, notes = check.library_problems(manifest.platform.libraries)
    for note in notes:
        screen.say("    note: " + note)
    refuse(problems)


def refuse(problems: List[str]) -> None:
    if problems:
        raise SetupError(
            "this bundle cannot run here; nothing was written:\n%s" % check.listed(problems)
        )


def check_place(manifest: Manifest, place: Place) -> None:
    places.check_prefix(place, manifest.installed_bytes)
    taken = places.foreign(place, planned_links(manifest, place))
    if taken:
        raise SetupError(
            "these exist and are not hpcagent's; move them away, or choose another --prefix:\n%s"
            % check.listed(taken)
        )


def install(request: Request, screen: Screen) -> None:
    manifest, digest = read_bundle(request.bundle)
    refuse(check.platform_problems(manifest.platform, check.read_host()))
    manifest = verify(request, screen)
    check_libraries(manifest, screen)
    place = Place(request.prefix, manifest.version, request.module_dir)
    check_place(manifest, place)
    if request.dry_run:
        screen.say("install: all is well; it would be installed in " + place.tree)
        return
    with places.locked(place, screen) as hold:
        places.recover(place)
        if os.path.lexists(place.tree) and not request.force:
            complete_installed(place, digest, screen)
            return
        with temporary_log() as log:
            builder = TreeBuilder(request.bundle, manifest, place, Runner(screen, log, hold.handle))
            build(builder, digest, hold.folders, screen)
    tell_result(place, screen)


def complete_installed(place: Place, digest: str, screen: Screen) -> None:
    """The version is here. The same bundle only renews its links, another one needs --force."""
    record = places.read_record(place)
    if record.manifest_sha256 != digest:
        raise SetupError(
            "hpcagent %s from another bundle is installed in %s; --force replaces it"
            % (place.version, place.tree)
        )
    places.make_links(place, record.links)
    screen.say(
        "install: hpcagent %s of this bundle is installed in %s already; --force replaces it"
        % (place.version, place.tree)
    )


@contextlib.contextmanager
def temporary_log() -> "Iterator[str]":
    """A file that stays only where something fails."""
    handle, path = tempfile.mkstemp(prefix="hpcagent-install-", suffix=".log")
    os.close(handle)
    try:
        yield path
    except KeyboardInterrupt:
        os.unlink(path)
        raise
    os.unlink(path)


def build(builder: TreeBuilder, digest: str, made: List[str], screen: Screen) -> None:
    manifest, place = builder.manifest, builder.place
    links = planned_links(manifest, place)
    try:
        with screen.phase("virtual environment"):
            note = builder.make_environment()
            if note:
                screen.say("    note: " + note)
        with screen.phase("packages"):
            builder.install_wheels()
        with screen.phase("bytecode"):
            builder.compile_bytecode()
        with screen.phase("modulefiles, man page, completions"):
            builder.add_files()
        with screen.phase("checks"):
            note = builder.try_imports()
            if note:
                screen.say("    note: " + note)
            builder.finish()
            folders = places.folders_for(place, links, made)
            files = tree_files(builder.tree)
            record = Record(manifest.version, digest, links, folders, files)
            places.write_record(builder.tree, record)
        places.put_in_place(place)
        places.make_links(place, links)
    finally:
        shutil.rmtree(place.partial, ignore_errors=True)


def tell_result(place: Place, screen: Screen) -> None:
    screen.say("install: hpcagent %s is installed in %s" % (place.version, place.prefix))
    screen.say("  %s --help" % os.path.join(place.prefix, "bin", "hpcagent"))
    screen.say("  module use %s" % os.path.join(place.prefix, "modulefiles"))
    screen.say("  removed again with %s" % os.path.join(place.tree, "uninstall"))
    mask = os.umask(0)
    os.umask(mask)
    if mask & 0o005:
        screen.say("  note: by your umask (%04o) others cannot use it" % mask)


# --- what is installed ---------------------------------------------------------------------------


def find_installed(request: Request) -> Place:
    """The version that is meant: the bundle's, or the one given."""
    version = request.release or read_bundle(request.bundle)[0].version
    return Place(request.prefix, version, "")


def verify_installed(request: Request, screen: Screen) -> None:
    place = find_installed(request)
    record = places.read_record(place)
    with screen.phase("hashes of %d installed files" % len(record.files)):
        found = tree_files(place.tree)
        names = sorted(set(record.files) | set(found))
        problems = [
            ("missing: " if name not in found else "surplus: " if name not in record.files else
             "changed: ") + name
            for name in names
            if found.get(name) != record.files.get(name)
        ]  # fmt: skip
        for link in record.links:
            path = os.path.join(place.prefix, link.path)
            if not places.is_ours(place, path):
                problems.append("missing: " + path)
        if problems:
            raise SetupError(
                "%s is not as it was installed:\n%s" % (place.tree, check.listed(problems))
            )
    screen.say("install: hpcagent %s in %s is as it was installed" % (place.version, place.prefix))


def uninstall(request: Request, screen: Screen) -> None:
    place = find_installed(request)
    places.read_record(place)
    with places.locked(place, screen) as hold:
        record = places.read_record(place)
        if request.dry_run:
            screen.say("install: %d files of %s would be removed" % (len(record.files), place.tree))
            return
        hold.folders.extend(
            os.path.normpath(os.path.join(place.prefix, path)) for path in record.folders
        )
        count, left = places.remove(place, record)
    screen.say("install: removed hpcagent %s, %d files" % (place.version, count))
    if left:
        screen.say("  left, since they were not installed:\n%s" % check.listed(left))


def run(request: Request, screen: Screen) -> None:
    if request.action == "uninstall":
        uninstall(request, screen)
    elif request.action == "install":
        install(request, screen)
    elif request.prefix:
        verify_installed(request, screen)
    else:
        manifest = verify(request, screen)
        screen.say("install: the bundle of hpcagent %s is as it was made" % manifest.version)


def interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main(words: List[str]) -> int:
    """The exit code: 0, 2 for usage (by argparse), 3, or 130 when interrupted."""
    request = read_request(words)
    live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    phases = {"install": 1 if request.dry_run else 6}.get(request.action, 1)
    screen = Screen(sys.stderr, live, phases)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)
    try:
        run(request, screen)
    except SetupError as error:
        screen.say("install: %s" % error)
        return 3
    except OSError as error:
        where = " %s:" % error.filename if error.filename else ""
        screen.say("install:%s %s" % (where, error.strerror or error))
        return 3
    except KeyboardInterrupt:
        screen.say("install: interrupted; nothing is half installed, the same command goes on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

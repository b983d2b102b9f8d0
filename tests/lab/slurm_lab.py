"""A private real Slurm on this host: two nodes, its own database and its own credentials.

Everything lives in one temporary folder and is gone, processes and files, when the context ends or
when the process that opened it is killed (slurm_keeper). Clients find it by SLURM_CONF alone.

Where mount namespaces can be had, each slurmd gets one of its own: there n1 and n2 are names of the
loopback address and /dev/shm is private, so that `mpirun` works over both; and a folder can be
hidden from a node.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lab import slurm_conf
from lab.slurm_keeper import Keeper

DEADLINE_S = 300.0
ATTEMPTS = 3
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
NEEDED_FOR_ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacctmgr", "sacct")
FIELDS = "JobID,JobIDRaw,JobName,State,ExitCode,DerivedExitCode,Submit,Start,End,NodeList,Partition"
RESERVATIONS = ("scontrol", "show", "reservation", "-o")
MOUNT = """
mount --bind "$1/hosts" /etc/hosts && mount -t tmpfs none /dev/shm || exit 1
if [ -n "$3" ]; then mount -t tmpfs none "$3" || exit 1; fi
exec slurmd -D -N "$2"
"""


class Trouble(Exception):
    """The lab itself did not work."""


class PortTaken(Trouble):
    """Another process took a daemon's port between its choice and the daemon's start."""


@dataclass(frozen=True)
class Cluster:
    """A running Slurm. `env` is what a client has to have set; `isolated`: nodes have mounts of
    their own."""

    folder: Path
    conf: Path
    env: Mapping[str, str]
    keeper: Keeper
    accounting: bool
    isolated: bool
    user: str
    ports: slurm_conf.Ports
    lines: dict[str, str]
    more: tuple[str, ...] = ()
    first_lines: dict[str, str] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    hidden: dict[str, str] = field(default_factory=dict)

    def run(
        self, *argv: str, timeout_s: float = 60, stdin: str | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A client of this cluster; it is not an error if it fails."""
        return subprocess.run(
            argv,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            input=stdin if stdin is not None else "",
            cwd=cwd,
        )

    def ask(self, *argv: str, timeout_s: float = 60) -> str:
        """What a client printed; Trouble where it failed."""
        done = self.run(*argv, timeout_s=timeout_s)
        if done.returncode:
            raise Trouble(f"{' '.join(argv)}: {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def scontrol(self, *args: str) -> str:
        return self.ask("scontrol", *args)

    def sacctmgr(self, *args: str) -> str:
        return self.ask("sacctmgr", "-i", *args)

    def jobs(self) -> dict[str, str]:
        """Id -> state of all jobs that the controller knows, ended ones included."""
        rows = self.ask("squeue", "--all", "-h", "-t", "all", "-o", "%i %T").splitlines()
        return dict(row.split(maxsplit=1) for row in rows)

    def rows(self, *args: str) -> list[dict[str, str]]:
        """sacct's rows, all users, from the beginning; `args` are further options."""
        since = ("-a", "-S", "2000-01-01")
        text = self.ask("sacct", *since, "-P", "--delimiter=\x1f", "-o", FIELDS, *args)
        head, *rest = text.splitlines()
        return [dict(zip(head.split("\x1f"), row.split("\x1f"), strict=True)) for row in rest]

    # --- trouble ---------------------------------------------------------------------------------

    def daemons(self) -> tuple[str, ...]:
        storage = ("mariadb", "slurmdbd") if self.accounting else ()
        return ("munged", *storage, "slurmctld", *slurm_conf.NODES)

    def stop(self, daemon: str, number: int = signal.SIGKILL) -> None:
        """End a daemon; jobs of a slurmd live on.

        A slurmctld that is killed forgets the submissions of its last seconds and gives their ids
        out again (it saves its state every 5 s); one that gets SIGTERM does not.
        """
        self.thaw(daemon)
        self.keeper.signal(daemon, number)
        until(lambda: not self.keeper.alive(daemon), f"{daemon} ends")

    def start(self, daemon: str) -> None:
        """Start a daemon again; returns when it answers."""
        launch(self, daemon)
        ready(self, daemon)

    def freeze(self, daemon: str) -> None:
        """SIGSTOP: it takes connections and does not answer."""
        if self.keeper.signal(daemon, signal.SIGSTOP):
            self.frozen.add(daemon)

    def thaw(self, daemon: str) -> None:
        if daemon in self.frozen:
            self.keeper.signal(daemon, signal.SIGCONT)
            self.frozen.discard(daemon)

    def hide(self, node: str, folder: Path) -> None:
        """The jobs of `node` find an empty folder there, until `reset`."""
        if not self.isolated:
            raise Trouble("a folder can only be hidden where mounts can be made")
        self.stop(node)
        self.hidden[node] = str(folder)
        self.start(node)

    def configure(self, **lines: str) -> None:
        """Change lines of slurm.conf that are known to `slurm_conf.settings`, until `reset`."""
        self.lines.update(lines)
        write_conf(self)
        self.scontrol("reconfigure")

    def reset(self) -> None:
        """Everything runs as at first: nothing is hidden, no job is left, both nodes are idle.

        What a test changed with `scontrol update` of a partition it changes back itself.
        """
        for daemon in sorted(self.frozen):
            self.thaw(daemon)
        for node in sorted(self.hidden):
            del self.hidden[node]
            self.stop(node)
        for daemon in self.daemons():
            if not self.keeper.alive(daemon):
                self.start(daemon)
        if self.lines != self.first_lines:
            self.configure(**self.first_lines)
        for name in re.findall(r"^ReservationName=(\S+)", self.run(*RESERVATIONS).stdout, re.M):
            self.scontrol("delete", f"reservationname={name}")
        for node in slurm_conf.NODES:
            self.run("scontrol", "update", f"nodename={node}", "state=resume")
        live = set(self.ask("squeue", "--all", "-h", "-o", "%F").split())  # arrays by their base
        if live:
            self.run("scancel", "--hurry", *live)
        until(lambda: not self.ask("squeue", "--all", "-h"), "all jobs end")
        until(lambda: idle(self), "both nodes are idle")


def until(done: Callable[[], bool], what: str, limit_s: float = DEADLINE_S) -> None:
    limit = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > limit:
            raise Trouble(f"waited {limit_s:g} s in vain: {what}")
        time.sleep(0.05)


def idle(cluster: Cluster) -> bool:
    done = cluster.run("sinfo", "-h", "-N", "-p", "both", "-o", "%t")
    return done.stdout.split() == ["idle"] * len(slurm_conf.NODES)


def absent(accounting: bool = True) -> str:
    """The first program that is not installed here; empty: all are."""
    names = NEEDED + (NEEDED_FOR_ACCOUNTING if accounting else ())
    return next((name for name in names if not shutil.which(name, path=path())), "")


def path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:{SBIN}"


# --- the daemons ---------------------------------------------------------------------------------


def launch(cluster: Cluster, daemon: str) -> None:
    folder = cluster.folder
    env = {"PATH": path(), "HOME": str(folder), "LANG": "C.UTF-8", **cluster.env}
    cluster.keeper.start(daemon, argv_of(cluster, daemon), env | {"MYSQL_UNIX_PORT": f"{folder}/s"})


def argv_of(cluster: Cluster, daemon: str) -> list[str]:
    folder = cluster.folder
    if daemon == "munged":
        return [
            *("munged", "--foreground", "--force", "--num-threads=4"),
            *(f"--key-file={folder}/key", f"--socket={folder}/munge", f"--seed-file={folder}/seed"),
            *(f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log"),
        ]
    if daemon == "mariadb":
        return [
            *("mariadbd", "--no-defaults", f"--datadir={folder}/db", f"--socket={folder}/s"),
            *(f"--user={cluster.user}", f"--pid-file={folder}/mariadb.pid", "--skip-networking"),
            # A starting MariaDB removes what others have in a shared folder for temporary tables.
            f"--tmpdir={folder}",
            *("--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M"),
            "--innodb-log-file-size=4M",
        ]
    if daemon in slurm_conf.NODES:
        if not cluster.isolated:
            return ["slurmd", "-D", "-N", daemon]
        return [
            *unshared(),
            "sh",
            "-c",
            MOUNT,
            "sh",
            str(folder),
            daemon,
            cluster.hidden.get(daemon, ""),
        ]
    return [daemon, "-D"]


def ready(cluster: Cluster, daemon: str) -> None:
    """Wait until a daemon answers."""
    checks: dict[str, Callable[[], bool]] = {
        "munged": lambda: answers(socket.AF_UNIX, str(cluster.folder / "munge")),
        "mariadb": lambda: answers(socket.AF_UNIX, str(cluster.folder / "s")),
        "slurmdbd": lambda: answers(socket.AF_INET, ("127.0.0.1", cluster.ports.database)),
        "slurmctld": lambda: cluster.run("scontrol", "ping").returncode == 0,
    }
    for node, port in zip(slurm_conf.NODES, cluster.ports.nodes, strict=True):
        checks[node] = partial(answers, socket.AF_INET, ("127.0.0.1", port))
    # Alive first: what answers at the port of a daemon that has ended is somebody else.
    until(lambda: not gone(cluster, daemon) and checks[daemon](), f"{daemon} answers")


def gone(cluster: Cluster, daemon: str) -> bool:
    if not cluster.keeper.alive(daemon):
        log = (cluster.folder / f"{daemon}.out").read_text(errors="replace")
        kind = PortTaken if os.strerror(errno.EADDRINUSE) in log else Trouble
        raise kind(f"{daemon} ended at once: {log[-2000:]}")
    return False


def answers(family: int, address: str | tuple[str, int]) -> bool:
    with socket.socket(family) as tried:
        tried.settimeout(2)
        return tried.connect_ex(address) == 0


def free_ports(count: int) -> list[int]:
    """Below the range that the kernel gives to outgoing connections."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(20000, 32000)
        if port not in found and bindable(port):
            found.append(port)
    return found


def bindable(port: int) -> bool:
    """On every address, as the daemons bind it."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", port))
        except OSError:
            return False
    return True


def unshared() -> list[str]:
    """The words that give a command mounts of its own; who is not root needs a user namespace."""
    user = ["--user", "--map-current-user", "--keep-caps"] if os.geteuid() else []
    return ["unshare", *user, "--mount", "--propagation", "private"]


def mounts_possible() -> bool:
    if not shutil.which("unshare"):
        return False
    words = [*unshared(), "mount", "-t", "tmpfs", "none", "/dev/shm"]
    return subprocess.run(words, capture_output=True).returncode == 0


# --- the whole -----------------------------------------------------------------------------------


@contextlib.contextmanager
def cluster(
    accounting: bool = True,
    users: tuple[str, ...] = (),
    settings: Mapping[str, str] | None = None,
    more: tuple[str, ...] = (),
) -> Iterator[Cluster]:
    """A cluster of one's own. `users` may use it besides the one who runs it; `settings` are lines
    of slurm.conf that replace the lab's, `more` stand below them."""
    made = begun(accounting, users, dict(settings or {}), more)
    try:
        yield made
    finally:
        made.keeper.close()


def begun(
    accounting: bool, users: tuple[str, ...], settings: dict[str, str], more: tuple[str, ...]
) -> Cluster:
    """With other ports where one was taken meanwhile."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(PortTaken):
            return attempt(accounting, users, settings, more)
    return attempt(accounting, users, settings, more)


def attempt(
    accounting: bool, users: tuple[str, ...], settings: dict[str, str], more: tuple[str, ...]
) -> Cluster:
    folder = Path(tempfile.mkdtemp(prefix="hl", dir="/tmp"))  # a socket's path has 107 bytes
    try:
        keeper = Keeper(folder)
    except OSError:
        folder.rmdir()
        raise
    with contextlib.ExitStack() as undo:
        undo.callback(keeper.close)
        made = prepare(folder, keeper, accounting, settings, more)
        begin(made, users)
        undo.pop_all()
    return made


def prepare(
    folder: Path,
    keeper: Keeper,
    accounting: bool,
    settings: dict[str, str],
    more: tuple[str, ...],
) -> Cluster:
    folder.chmod(0o711)  # munged wants clients to reach its socket
    user = pwd.getpwuid(os.geteuid()).pw_name
    controller, database, *nodes = free_ports(2 + len(slurm_conf.NODES))
    ports = slurm_conf.Ports(controller, database, tuple(nodes))
    for name in ("state", *slurm_conf.NODES):
        (folder / name).mkdir()
    private(folder / "key", secrets.token_bytes(128))
    private(folder / "slurmdbd.conf", slurm_conf.slurmdbd_conf(folder, ports, user).encode())
    names = f"127.0.0.1 {' '.join(slurm_conf.NODES)}\n"
    (folder / "hosts").write_text(Path("/etc/hosts").read_text() + names)
    made = Cluster(
        folder=folder,
        conf=folder / "slurm.conf",
        env={"SLURM_CONF": str(folder / "slurm.conf")},
        keeper=keeper,
        accounting=accounting,
        isolated=mounts_possible(),
        user=user,
        ports=ports,
        lines=slurm_conf.settings(folder, ports, user, accounting) | settings,
        more=more,
    )
    made.first_lines.update(made.lines)
    write_conf(made)
    return made


def write_conf(made: Cluster) -> None:
    made.conf.write_text(slurm_conf.slurm_conf(made.lines, made.ports, made.more))


def private(file: Path, content: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)


def begin(made: Cluster, users: tuple[str, ...]) -> None:
    """In an order that never waits for a retry: slurmdbd tries its database every 5 s only."""
    launch(made, "munged")
    if made.accounting:
        install_database(made)
        for daemon in ("mariadb", "slurmdbd"):
            launch(made, daemon)
            ready(made, daemon)
        ready(made, "munged")
        said = made.run("sacctmgr", "-i", stdin=slurm_conf.accounts((made.user, *users)))
        if said.returncode:
            raise Trouble(f"sacctmgr: {said.stdout}{said.stderr}")
    ready(made, "munged")
    for daemon in (*slurm_conf.NODES, "slurmctld"):
        launch(made, daemon)
    for daemon in (*slurm_conf.NODES, "slurmctld"):
        ready(made, daemon)
    # A slurmd may have seemed to answer while somebody else listened at its port.
    running = made.daemons()
    until(lambda: not any(gone(made, d) for d in running) and idle(made), "both nodes are idle")


def install_database(made: Cluster) -> None:
    place = f"{made.folder}/db"
    words = ["mariadb-install-db", "--no-defaults", f"--datadir={place}", f"--tmpdir={made.folder}"]
    words += ["--skip-test-db", "--auth-root-authentication-method=socket", f"--user={made.user}"]
    words += [f"--auth-root-socket-user={made.user}", "--innodb-log-file-size=4M"]
    done = made.run(*words)
    if done.returncode:
        raise Trouble(f"mariadb-install-db: {done.stdout}{done.stderr}")

"""One command run against a private Slurm by an ordinary user, and kept as a fixture."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from lab.slurm_lab import Cluster, until

USER, UID = "nobody", 65534
SQUEUE = "%i|%A|%j|%T|%r|%N|%P|%V|%S|%Q"
SQUEUE_O = (
    "JobArrayID:|,JobID:|,Name:|,State:|,ReasonList:|,Reason:|,NodeList:|,exit_code:|,"
    "SubmitTime:|,StartTime:|"
)
SACCT = (
    "JobID,JobIDRaw,JobName,State,ExitCode,DerivedExitCode,Reason,Submit,Start,End,Elapsed,"
    "NodeList,Partition,Account,QOS,Timelimit"
)
SINCE = "2000-01-01"


@dataclass
class Recorder:
    lab: Cluster
    target: Path
    work: Path
    words: list[tuple[str, str]]
    ids: dict[str, str] = field(default_factory=dict)

    def neutral(self, text: str) -> str:
        for pattern, word in self.words:
            text = re.sub(pattern, word, text)
        return text

    def keep(
        self, name: str, *argv: str, note: str = "", timeout_s: float = 60, env: str = ""
    ) -> str:
        """Run a command as the ordinary user and write it down; gives its output."""
        code, out, err = self.call(argv, timeout_s, env)
        entry = {
            "argv": [self.neutral(word) for word in argv],
            "exit_code": code,
            "stdout": self.neutral(out),
            "stderr": self.neutral(err),
        }
        entry |= {"env": env} if env else {}
        entry |= {"note": note} if note else {}
        entry |= {"timeout_s": timeout_s} if code is None else {}
        text = json.dumps(entry, indent=1, ensure_ascii=False)
        (self.target / f"{name}.json").write_text(text + "\n")
        print(name, code, (out or err).strip()[:100].replace("\n", " / "), flush=True)
        return out

    def call(
        self, argv: tuple[str, ...], timeout_s: float, env: str
    ) -> tuple[int | None, str, str]:
        set_env = ["env", *env.split()] if env else []
        words = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", *set_env, *argv]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        try:
            done = subprocess.run(
                words,
                env=clean | dict(self.lab.env) | {"HOME": str(self.work), "TZ": "UTC"},
                capture_output=True,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
                cwd=self.work,
            )
        except subprocess.TimeoutExpired as error:
            return None, (error.stdout or b"").decode(), (error.stderr or b"").decode()
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def script(self, body: str, name: str = "job.sh") -> str:
        path = self.work / name
        path.write_bytes(body.encode())
        os.chown(path, UID, UID)
        return str(path)

    def submit(self, name: str, body: str, *options: str) -> str:
        """A job by its own name; its id is kept under that name."""
        script = self.script(f"#!/bin/sh\n{body}\n")
        words = ("sbatch", "--parsable", "-J", name, "-o", "out", "-e", "err", "-t", "5")
        code, out, err = self.call((*words, *options, script), 60, "")
        assert code == 0, err
        self.ids[name] = out.strip()
        return out.strip()

    def ended(self, *names: str) -> None:
        """Until neither the controller nor the database has one of these running."""
        for name in names:
            until(lambda name=name: self.final(self.ids[name]), f"{name} ends")

    def final(self, job: str) -> bool:
        live = ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "CONFIGURING")
        known = [state for i, state in self.lab.jobs().items() if i.split("_")[0] == job]
        if any(state in live for state in known):
            return False
        if not self.lab.accounting:
            return True
        rows = self.lab.ask("sacct", "-a", "-S", SINCE, "-X", "-n", "-P", "-o", "State", "-j", job)
        return bool(rows.split()) and not any(w in live for w in rows.split())

    def running(self, name: str) -> None:
        until(lambda: self.lab.jobs().get(self.ids[name]) == "RUNNING", f"{name} runs")

    def caught_up(self, name: str) -> None:
        """Until the database has the whole record: it comes in pieces, and late."""
        job = self.ids[name]

        def agrees() -> bool:
            rows = self.lab.ask(*sacct(job, "JobName,State"), "-a", "-X").splitlines()
            state = self.lab.jobs()[job]
            return any(row.startswith(f"{name}|{state}") for row in rows)

        until(agrees, f"sacct knows {name}")

    def views(self, name: str, job: str, note: str = "") -> None:
        """One job as the commands show it."""
        self.keep(f"squeue-{name}", "squeue", "-h", "-t", "all", "-j", job, "-o", SQUEUE, note=note)
        self.keep(f"sacct-{name}", *sacct(job), note=note)
        self.keep(f"sacct-x-{name}", *sacct(job), "-X", note=note)
        self.keep(f"scontrol-{name}", "scontrol", "show", "job", "-o", job, note=note)


def sacct(job: str, fields: str = SACCT) -> tuple[str, ...]:
    return ("sacct", "-n", "-P", "-S", SINCE, "-j", job, "-o", fields)


def recorder(lab: Cluster, target: Path, work: Path) -> Recorder:
    host = socket.gethostname().split(".")[0]
    words = [
        (re.escape(str(work)), "/home/ada/run"),
        (re.escape(str(lab.folder)), "/run/lab"),
        (rf"\b{USER}\b", "ada"),
        (r"\bnogroup\b", "ada"),
        (rf"\b{UID}\b", "1001"),
        (rf"\b{re.escape(host)}\b", "login1"),
        (r"\b127\.0\.0\.1\b", "192.0.2.1"),
        (r"OS=Linux \S+ .*?(?= RealMemory)", "OS=Linux 6.1.0-18-amd64 #1 SMP"),
        (r"\b(2\d{4}|3[01]\d{3})\b", "6817"),
    ]
    return Recorder(lab, target, work, words)

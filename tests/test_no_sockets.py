"""A whole run with a model, in a network namespace without interfaces: nobody opens a socket."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from mainjob import make_bench
from tiny_gguf import make_tiny_gguf

_SOCKET = re.compile(r"socket\((\w+)")


def _can(*words: str) -> bool:
    done = subprocess.run([*words, "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.openblas
@pytest.mark.llama
@pytest.mark.strace
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_run_with_a_model_opens_no_socket_of_a_network(tmp_path: Path) -> None:
    if not _can("unshare", "-rn"):
        pytest.skip("this user may make no network namespace")
    bench = make_bench(tmp_path)
    make_tiny_gguf(tmp_path / "tiny.gguf")
    words = bench.tune_words("--budget", "rounds=2", "--model", "tiny.gguf")
    log = tmp_path / "sockets"
    watch = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=socket,execve", "-o", str(log)]
    done = subprocess.run(
        ["unshare", "-rn", *watch, *bench.argv(*words)], cwd=bench.folder, env=bench.env,
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    verdicts = [event["data"]["verdict"] for event in bench.events("llm_call")]
    assert verdicts and not [words for words in verdicts if words.startswith("failed:")]
    text = log.read_text(errors="replace")
    assert "hpcagent.llm.child" in text  # its process was watched, too
    families = set(_SOCKET.findall(text))
    assert families <= {"AF_UNIX", "AF_NETLINK"}, families

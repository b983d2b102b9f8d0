"""The process that becomes a quarantined program: it puts on its limits, and is replaced.

Runs inside jobs: standard library only, python3 >= 3.6.
"""

import json
import os
import signal
from typing import Sequence

if __package__:
    from hpcagent.codegen import callfilter, landlock, privileges
    from hpcagent.codegen.fileview import COVERED
    from hpcagent.codegen.kernelcalls import PR_SET_NO_NEW_PRIVS, Told, prctl, tried
    from hpcagent.codegen.wallspec import Spec, environment, kernel_limits
else:
    import callfilter  # type: ignore[import-not-found,no-redef]
    import landlock  # type: ignore[import-not-found,no-redef]
    import privileges  # type: ignore[import-not-found,no-redef]
    from fileview import COVERED  # type: ignore[import-not-found,no-redef]
    from kernelcalls import (  # type: ignore[import-not-found,no-redef]
        PR_SET_NO_NEW_PRIVS,
        Told,
        prctl,
        tried,
    )
    from wallspec import (  # type: ignore[import-not-found,no-redef]
        Spec,
        environment,
        kernel_limits,
    )


def become(
    spec: Spec,
    told: Told,
    scratch: str,
    stdin: int,
    outputs: Sequence[Sequence[int]],
    failure: int,
) -> None:
    """Never returns."""
    own = {}  # type: Told
    line = "\n"
    try:
        os.setsid()
        for target, source in enumerate((stdin, outputs[0][1], outputs[1][1])):
            os.dup2(source, target)
        privileges.close_all_but([0, 1, 2, failure, *spec.pass_fds])
        os.chdir(spec.cwd)  # anew: the old one leads below what covers it
        own["clean_environment"] = True
        tried(own, "limits", lambda: privileges.limit_resources(kernel_limits(spec)))
        tried(own, "no_privileges", privileges.drop_capabilities)
        tried(own, "no_new_privileges", lambda: prctl(PR_SET_NO_NEW_PRIVS, 1))
        privileges.die_with_parent()
        if told.get("mount_namespace") is not True:
            _keep_off_files(spec, scratch, own)
        tried(own, "call_filter", lambda: callfilter.install(spec.calls))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.write(failure, json.dumps(own).encode() + b"\n")
        env = environment(spec, scratch)
        os.execvpe(spec.argv[0], spec.argv, env)
    except (OSError, ValueError) as error:
        line = "%s: %s\n" % (spec.argv[0], getattr(error, "strerror", None) or error)
    os.write(failure, (line if own else "{}\n" + line).encode())
    os._exit(127)


def _keep_off_files(spec: Spec, scratch: str, own: Told) -> None:
    """What mounts would do: files are written in named folders only, and covered ones not read."""
    real = [os.path.realpath(path) for path in (*COVERED, os.path.expanduser("~"))]
    hidden = [os.path.realpath(path) for path in spec.lists["hidden"]]
    visible = [os.path.realpath(path) for path in (*spec.lists["visible"], spec.cwd, spec.argv[0])]
    readable = landlock.outside("/", [path for path in real if path != "/"] + hidden)
    for path in visible:
        readable += landlock.outside(path, hidden)
    ranks = spec.calls == callfilter.RANKS
    writable = [scratch, *spec.lists["writable"], *spec.lists["devices"]] + ["/dev"] * ranks
    if tried(own, "landlock", lambda: landlock.restrict(readable, writable, ranks)):
        own.update(read_only=True, hidden=True)

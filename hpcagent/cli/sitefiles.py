"""What a site wants around an installation: modulefiles, the manual page, shell completions.

`python -m hpcagent.cli.sitefiles --root ROOT --out DIR` writes them below DIR for an installation
that is, or will be, at ROOT; the installer of a bundle runs it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpcagent import __version__, templates
from hpcagent.cli.main import group
from hpcagent.cli.manpage import manpage

COMPLETIONS = {
    "bash": "share/bash-completion/completions/hpcagent",
    "zsh": "share/zsh/site-functions/_hpcagent",
    "fish": "share/fish/vendor_completions.d/hpcagent.fish",
}


def site_files(root: str) -> dict[str, str]:
    """Text by path, relative to the installation; UsageError for a ROOT that cannot be quoted."""
    values = {"root": templates.clean(root, "installation"), "version": __version__}
    folder = templates.share("modulefiles")
    files = {
        f"modulefiles/hpcagent/{__version__}.lua": folder / "hpcagent.lua.j2",
        f"modulefiles/hpcagent/{__version__}": folder / "hpcagent.tcl.j2",
    }
    found = {name: templates.render(path, values) for name, path in files.items()}
    found["share/man/man1/hpcagent.1"] = manpage(group, "hpcagent", __version__)
    return found | {path: completion(shell) for shell, path in COMPLETIONS.items()}


def completion(shell: str) -> str:
    """The script that click makes for bash, zsh or fish."""
    from click import shell_completion

    kinds: dict[str, type[shell_completion.ShellComplete]] = {
        "bash": shell_completion.BashComplete,
        "zsh": shell_completion.ZshComplete,
        "fish": shell_completion.FishComplete,
    }
    made = kinds[shell](group, {}, "hpcagent", "_HPCAGENT_COMPLETE")
    # BashComplete.source() starts a bash to look at its version; the text needs none.
    return made.source_template % made.source_vars()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="hpcagent.cli.sitefiles")
    parser.add_argument("--root", required=True)
    parser.add_argument("--out", required=True, type=Path)
    given = parser.parse_args(argv)
    for name, text in site_files(given.root).items():
        path = given.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

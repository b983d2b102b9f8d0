"""What surrounds an installation: the manual page, completions, modulefiles; each by its reader."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent import __version__
from hpcagent.bootstrap.install_tree import SITE_FILES
from hpcagent.cli.main import group
from hpcagent.cli.manpage import manpage, roff
from hpcagent.cli.sitefiles import COMPLETIONS, completion, main, site_files

ROOT = Path(__file__).resolve().parents[1]
INITS = ("usr/share/lmod/lmod/init/bash", "usr/share/lmod/*/init/bash", "opt/*/lmod/init/bash")


def test_the_installer_and_this_agree_on_the_names() -> None:
    assert set(site_files("/x")) == {name % {"version": __version__} for name in SITE_FILES}


def test_they_are_written_below_the_given_folder(tmp_path: Path) -> None:
    main(["--root", "/sw/hpcagent", "--out", str(tmp_path)])
    for name, text in site_files("/sw/hpcagent").items():
        assert (tmp_path / name).read_text(encoding="utf-8") == text


# --- the manual page -----------------------------------------------------------------------------


def shown(page: str) -> str:
    """What groff makes of a page; the test fails where it warns."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff here")
    done = subprocess.run(
        [groff, "-ww", "-man", "-Tascii", "-P-c", "-P-b", "-P-u"], input=page,
        env={"PATH": os.defpath, "GROFF_NO_SGR": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def test_the_page_tells_of_every_command_and_option() -> None:
    text = " ".join(shown(manpage(group, "hpcagent", __version__)).split())
    context = click.Context(group, info_name="hpcagent")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        assert f"{name} [OPTIONS]" in text
        for param in command.params:
            for option in param.opts if isinstance(param, click.Option) else ():
                assert option in text, (name, option)
    assert "EXIT STATUS 0 done" in text
    assert f"hpcagent {__version__}" in text


def test_examples_keep_their_lines() -> None:
    lines = [line.strip() for line in shown(manpage(group, "hpcagent", "1")).splitlines()]
    assert "hpcagent tune --lib openblas" in lines


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30))
def test_any_text_is_shown_as_it_is(text: str) -> None:
    page = f'.TH X 1 "" "" ""\n.nh\n.ad l\n.nf\n{roff(text)}\n'
    assert text in shown(page)


# --- completions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", sorted(COMPLETIONS))
def test_the_scripts_are_valid_for_their_shells(shell: str) -> None:
    text = completion(shell)
    assert f"_HPCAGENT_COMPLETE={shell}_complete" in text
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n"], input=text, text=True, check=True)


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    program = tmp_path / "hpcagent"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hpcagent "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(completion("bash"))
    code = """source ./script
COMP_WORDS=(hpcagent "$1"); COMP_CWORD=1
_hpcagent_completion hpcagent "$1" hpcagent
printf '%s\\n' "${COMPREPLY[@]}" """
    for typed, expected in (("tu", "tune"), ("re", "report")):
        done = subprocess.run(
            ["bash", "--norc", "-c", code, "bash", typed],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:{os.defpath}", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert expected in done.stdout.split(), done.stderr


# --- modulefiles ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def init() -> str:
    for pattern in INITS:
        for path in sorted(Path("/").glob(pattern)):
            return str(path)
    pytest.skip("no Lmod here")


def module(init: str, modules: Path, commands: str, **env: str) -> tuple[str, str]:
    setup = f"source {init}; module use '{modules}'; {commands}"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", setup],
        env={"HOME": str(modules), "PATH": os.defpath, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout, done.stderr


@pytest.mark.lmod
@pytest.mark.parametrize("kind", ["lua", "tcl", "both"])
@pytest.mark.parametrize("root", ["/sw/hpcagent", "/a b/$HOME/[exec touch canary]/{x"])
def test_loading_puts_the_program_in_reach_and_unloading_takes_it_away(
    init: str, tmp_path: Path, kind: str, root: str
) -> None:
    main(["--root", root, "--out", str(tmp_path)])
    modules = tmp_path / "modulefiles"
    for other, name in (("tcl", f"{__version__}.lua"), ("lua", __version__)):
        if kind == other:
            (modules / "hpcagent" / name).unlink()
    load = "module load hpcagent"
    show = 'printf "%s\\n" "$PATH" "${MANPATH-unset}"'
    out, err = module(init, modules, f"{load}; {show}")
    path, manpath = out.splitlines()
    assert err == ""
    assert path.split(":")[0] == f"{root}/bin"
    assert manpath == "unset"
    out, err = module(init, modules, f"{load}; {show}", MANPATH="/other:")
    assert out.splitlines()[1].split(":")[:2] == [f"{root}/share/man", "/other"]
    out, err = module(init, modules, f"{load}; module unload hpcagent; {show}", MANPATH="/other:")
    assert root not in out
    out, err = module(init, modules, "module -t avail hpcagent")
    assert (out + err).split().count(f"hpcagent/{__version__}") == 1
    out, err = module(init, modules, "module help hpcagent")
    assert f"{root}/share/hpcagent" in out + err
    assert not list(tmp_path.rglob("canary"))

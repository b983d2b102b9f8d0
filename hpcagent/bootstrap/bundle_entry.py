"""Texts that travel in a bundle: the program `install`, and what to do with it."""

# The Python of the bundle's version comes first, then any that can say that it is another one.
INSTALL = """\
#!/bin/sh
# Verifies this bundle and installs hpcagent from it, without a network. See: ./install --help
# Where this file system is mounted noexec: sh install ...
here=$(CDPATH='' cd -P -- "$(dirname -- "$0")" && pwd -P) || exit 3

works() {
    "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 6))' </dev/null >/dev/null 2>&1
}

python=${HPCAGENT_PYTHON:-}
taken=
for word do
    case $taken$word in
        taken*) python=$word taken= ;;
        --python) taken=taken ;;
        --python=*) python=${word#--python=} ;;
    esac
done
if [ -n "$python" ]; then
    if ! works "$python"; then
        printf 'install: %s does not start a Python; Python @PYTHON@ is needed\\n' "$python" >&2
        exit 3
    fi
else
    for python in python@PYTHON@ python3 python ''; do
        works "${python:-false}" && break
    done
fi
if [ -z "$python" ]; then
    printf 'install: no Python was found; Python @PYTHON@ is needed (%s; %s; %s); %s\\n' >&2 \\
        'RHEL and kin: dnf install python@PYTHON@' 'Debian, Ubuntu: apt install python@PYTHON@' \\
        'clusters often have it as a module' '--python names one that is not in PATH'
    exit 3
fi
exec "$python" -I -B -c 'import sys
sys.path.insert(0, sys.argv[1] + "/installer")
from hpcagent.bootstrap.install import main
sys.exit(main(["--bundle", *sys.argv[1:]]))' "$here" "$@"
"""

READ_ME = """\
hpcagent @VERSION@ for Python @PYTHON@ on @MACHINE@, to be installed without a network.

    ./install --prefix DIR        verifies every file, checks the machine, installs
    ./install --help              all options
    ./install --verify            only compares every hash with manifest.json

@NEEDS@

licences/LIST.txt names the licence of every part.
"""


def install_script(python: str) -> str:
    return INSTALL.replace("@PYTHON@", python)


def read_me(version: str, python: str, machine: str, needs: str) -> str:
    words = {"VERSION": version, "PYTHON": python, "MACHINE": machine, "NEEDS": needs}
    text = READ_ME
    for name, word in words.items():
        text = text.replace("@%s@" % name, word)
    return text

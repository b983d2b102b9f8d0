"""The licences of what is in a bundle, from the metadata of its wheels."""

import email.parser
import os
import re
import zipfile
from typing import Dict, List, NamedTuple

LICENCE_FILE = re.compile(r"(^|/)(LICEN[CS]E|COPYING|NOTICE|AUTHORS|COPYRIGHT)[^/]*$", re.I)
CLASSIFIER = "License :: "
# Compiled into a wheel whose metadata has only the wrapper's licence. The words are those of the
# file LICENSE in the source of llama.cpp (vendor/llama.cpp in llama-cpp-python 0.3.36): MIT, with
# the same terms as the wrapper's.
COMPILED_IN = {
    "llama-cpp-python": (
        "llama.cpp-and-ggml.txt",
        "llama.cpp and ggml are compiled into this wheel. They are under the MIT License:\n\n"
        "Copyright (c) 2023-2026 The ggml authors\n\n"
        "The permission and the disclaimer have the same words as those below.\n\n",
    )
}


class Licence(NamedTuple):
    """Of one wheel: `files` maps a name to the content."""

    name: str
    version: str
    licence: str
    files: Dict[str, bytes]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_licence(path: str) -> Licence:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        info = next(n for n in names if n.endswith(".dist-info/METADATA") and n.count("/") == 1)
        folder = info.rsplit("/", 1)[0] + "/"
        text = wheel.read(info).decode("utf-8", "replace")
        meta = email.parser.HeaderParser().parsestr(text)
        listed = {folder + name for name in meta.get_all("License-File") or []}
        listed |= {folder + "licenses/" + name for name in meta.get_all("License-File") or []}
        files = {
            _flat(name, folder): wheel.read(name)
            for name in names
            if name in listed or (LICENCE_FILE.search(name) and not name.endswith((".py", ".so")))
        }
    name = normal(str(meta["Name"]))
    if name in COMPILED_IN:
        title, head = COMPILED_IN[name]
        files[title] = head.encode() + b"".join(files.values())
    return Licence(name, str(meta["Version"]), _words(meta.get("License-Expression"), meta), files)


def _flat(name: str, folder: str) -> str:
    """A file name of a path in a wheel, other for every path, and safe."""
    inside = name[len(folder) :] if name.startswith(folder) else name
    inside = inside[len("licenses/") :] if inside.startswith("licenses/") else inside
    return re.sub(r"[^A-Za-z0-9_.-]", "_", inside.replace("/", "__"))


def _words(expression: object, meta: "email.message.Message[str, str]") -> str:
    if expression:
        return str(expression)
    short = str(meta.get("License") or "").strip()
    if short and "\n" not in short and len(short) < 80 and short != "UNKNOWN":
        return short
    found = [
        value.rsplit(" :: ", 1)[-1]
        for value in meta.get_all("Classifier") or []
        if value.startswith(CLASSIFIER)
    ]
    return " and ".join(found) or "see its files"


def write_licences(folder: str, licences: List[Licence]) -> List[str]:
    """LIST.txt and a folder for each package; the names of packages without any licence file."""
    lines = ["Package, version, licence and the files that hold it:", ""]
    without = []
    for licence in sorted(licences):
        own = "%s-%s" % (licence.name, licence.version)
        lines.append("%s %s: %s" % (licence.name, licence.version, licence.licence))
        for name, content in sorted(licence.files.items()):
            os.makedirs(os.path.join(folder, own), exist_ok=True)
            with open(os.path.join(folder, own, name), "wb") as stream:
                stream.write(content)
            lines.append("    %s/%s" % (own, name))
        if not licence.files:
            without.append(licence.name)
            lines.append("    (its wheel holds no licence file)")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "LIST.txt"), "w", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")
    return without

"""What module systems print: recorded from real ones, and as their manuals document it."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.probe import collect_software, modules

FIXTURES = Path(__file__).parent / "fixtures" / "software"
NAMES = st.from_regex(r"[A-Za-z0-9_.+@-]{1,8}(/[A-Za-z0-9_.+@-]{1,8}){0,2}", fullmatch=True)


def fixture(name: str) -> str:
    return (FIXTURES / name).read_text()


def test_the_files_of_the_collector_need_python_3_6_and_nothing_else() -> None:
    home = Path(collect_software.__file__)
    for name in ("collect_software.py", *collect_software.BESIDE):
        tree = ast.parse(home.with_name(name).read_text(), feature_version=(3, 6))
        imported = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
        assert imported <= sys.stdlib_module_names, name


@pytest.mark.parametrize(
    ("name", "available", "defaults"),
    [
        (
            "recorded-lmod-8.6-terse.txt",
            ("bad", "gcc/12.2.0", "openblas/0.3.21"),
            (),
        ),
        (
            "recorded-environment-modules-5.2-terse.txt",
            ("broken", "gcc/12.2.0", "openblas/0.3.9", "openblas/0.3.21"),
            ("openblas/0.3.9",),
        ),
        (
            "documented-tcl-modules-3.2-terse.txt",
            ("dot", "module-git", "modules", "null", "gcc/4.9.3", "gcc/5.4.0", "openmpi/1.10.2"),
            ("gcc/5.4.0",),
        ),
        (
            "documented-lmod-8.7-terse-marks.txt",
            ("StdEnv/2023", "gcc/12.3", "gcc/13.3", "openmpi/4.1.5"),
            ("gcc/12.3",),
        ),
        (
            "documented-environment-modules-5.5-terse-tags.txt",
            ("compiler/gcc/13.2.0", "compiler/gcc/14.1.0", "mkl/2024.1"),
            ("compiler/gcc/14.1.0",),
        ),
    ],
)
def test_terse_listings(name: str, available: tuple[str, ...], defaults: tuple[str, ...]) -> None:
    found = modules.parse_terse(fixture(name))
    assert (found.names, found.defaults, found.refused) == (available, defaults, ())


def test_what_hooks_print_in_front_is_noise_and_odd_names_are_refused() -> None:
    text = "WARNING\nLmod Warning: cache is old\n/opt/m:\ngcc/12\n$(touch canary)\n-x\na;b\n../up\n"
    found = modules.parse_terse(text)
    assert found.names == ("gcc/12",)
    assert found.noise == ("WARNING", "Lmod Warning: cache is old")
    assert found.refused == ("$(touch canary)", "-x", "a;b", "../up")


@pytest.mark.parametrize(
    "name",
    [
        *("-", "--help", "-x/1", "a b", "$(id)", "`id`", "a;b", "a|b", "a&b", "a\nb", "a\tb", ""),
        *(
            "a'b",
            'a"b',
            "a\\b",
            "a*",
            "a?b",
            "~",
            "~root",
            "a:b",
            "a=b",
            "a/../b",
            "..",
            "/a",
            "a/",
        ),
        *("a//b", "a\0b", "\x1b[31m", "é", "a%b", "{a}", "[a]", "<a>", "#a", "!a", "x" * 201),
    ],
)
def test_names_that_never_reach_a_module_system(name: str) -> None:
    assert not modules.is_name(name)


@pytest.mark.parametrize(
    "name", ["gcc", "gcc/12.2.0", "PrgEnv-gnu/8.4.0", "a/b/c_d.e+f@g", ".hidden/1", "gcc/.12"]
)
def test_names_of_real_modules(name: str) -> None:
    assert modules.is_name(name)


def test_json_of_environment_modules() -> None:
    found = modules.parse_avail_json(fixture("recorded-environment-modules-5.2-avail.json.txt"))
    assert found.names == ("openblas/0.3.21", "gcc/12.2.0", "broken", "openblas/0.3.9")
    assert found.defaults == ("openblas/0.3.9",)
    noisy = "site hook says hello\n{ not json\n" + json.dumps(
        {
            "/m": {
                "a/1": {"type": "modulefile", "symbols": []},
                "b": {"type": "alias"},
                "$x": {"type": "modulefile"},
            }
        }
    )
    listed = modules.parse_avail_json(noisy)
    assert (listed.names, listed.refused) == (("a/1",), ("$x",))
    assert listed.noise == ("site hook says hello", "{ not json")


def test_spider_tells_hidden_modules_and_every_way_to_them() -> None:
    spidered = modules.parse_spider(fixture("recorded-lmod-8.6-spider.json"))
    hidden = modules.hidden_modules(("bad", "gcc/12.2.0", "openblas/0.3.21"), spidered)
    assert hidden == {
        "hdf5/1.12": (("gcc/12.2.0", "openmpi/4.1.4"),),
        "openmpi/4.1.4": (("gcc/12.2.0",),),
    }
    old = modules.parse_spider(fixture("documented-lmod-6-spider.json"))
    assert modules.hidden_modules((), old)["openmpi/1.10.2"] == (("gcc/4.9.3",), ("intel/16.0",))


def test_the_other_json_of_spider() -> None:
    facts = {"fullName": "netcdf/4.9.2", "hidden": False, "parentAA": [["gcc/12.2.0", "mpi/4.1"]]}
    packages = {
        "netcdf": {"/m/netcdf/4.9.2.lua": facts},
        "gcc": {"/m/gcc/12.2.0.lua": {"fullName": "gcc/12.2.0", "family": "compiler"}},
    }
    found = modules.parse_spider("a hook\n" + json.dumps(packages))
    assert found == (
        modules.Spidered("netcdf/4.9.2", (("gcc/12.2.0", "mpi/4.1"),)),
        modules.Spidered("gcc/12.2.0", ()),
    )


@pytest.mark.parametrize("mark", ["(D)", "<D>", "(L,D)", "(default)", "(stable:default)"])
def test_marks_of_a_default(mark: str) -> None:
    found = modules.parse_terse(f"/m:\ngcc/12.2.0\ngcc/13.1.0 {mark}\nDDT/1 (H)\nx(@D/1)\n")
    assert found.defaults == ("gcc/13.1.0",)


def test_a_big_site_s_spider_is_kept_in_brief() -> None:
    ways = [[f"gcc/{x}", f"openmpi/{y}"] for x in range(5) for y in range(5)]
    versions = [{"full": f"hdf5/{x}", "parent": ways, "help": "x" * 500} for x in range(2000)]
    text = json.dumps([{"package": "hdf5", "versions": versions}])
    brief = modules.brief_spider(text)
    whole, kept = modules.parse_spider(text), modules.parse_spider(brief)
    assert [x.name for x in kept] == [x.name for x in whole]
    assert kept[0].ways == whole[0].ways[: modules.MAX_WAYS]
    assert len(brief) < len(text) / 5
    assert modules.brief_spider("no module system") == "no module system"


def test_candidates_are_the_newest_of_each_package_first() -> None:
    names = ["gcc/9.5.0", "gcc/12.10", "gcc/12.9", "cmake/3.25-gcc-12", "openblas/0.3.21", "vim/9"]
    hidden = {"openmpi/4.1.4": (("gcc/12.10",), ("intel/2023",)), "hdf5/1": (("gcc/12.10",),)}
    chosen, unseen = modules.candidates(names, hidden, 4)
    assert chosen[:2] == [("gcc/12.10",), ("openblas/0.3.21",)]
    assert set(chosen[2:]) == {("gcc/12.10", "openmpi/4.1.4"), ("intel/2023", "openmpi/4.1.4")}
    assert unseen == ["gcc/12.9", "gcc/9.5.0"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gcc/12.2.0", "compiler"),
        ("compiler/gcc/12.2.0", "compiler"),
        ("GCCcore/12.3.0", ""),
        ("PrgEnv-cray/8.4.0", "compiler"),
        ("nvhpc-hpcx/24.5", "mpi"),
        ("intel-oneapi-compilers/2023.2", "compiler"),
        ("mpi/openmpi-x86_64", "mpi"),
        ("cray-mpich/8.1.27", "mpi"),
        ("intel-mpi/2021.10", "mpi"),
        ("imkl/2023.1.0", "blas"),
        ("intel-oneapi-mkl/2024.0", "blas"),
        ("OpenBLAS/0.3.23-GCC-12.3.0", "blas"),
        ("netlib-lapack/3.11", "blas"),
        ("cray-libsci/23.09", "blas"),
        ("foss/2023a", "compiler"),
        ("cmake/3.25-gcc-12", ""),
        ("python/3.11", ""),
        ("impish/1", ""),
    ],
)
def test_kinds_by_name(name: str, kind: str) -> None:
    assert modules.kind_of(name) == kind


def test_the_difference_of_two_environments() -> None:
    before = {"PATH": "/usr/bin:/bin", "KEEP": "1", "GONE": "x", "_LMFILES_": "a", "SHLVL": "1"}
    after = {
        "PATH": "/opt/gcc/bin:/usr/bin",
        "KEEP": "1",
        "NEW": "line one\nPATH=/evil",
        "LD_LIBRARY_PATH": "/opt/gcc/lib64::/opt/gcc/lib",
        "LOADEDMODULES": "gcc/12",
        "__LMOD_REF_COUNT_PATH": "/opt/gcc/bin:1",
        "SHLVL": "2",
    }
    change = modules.compare(before, after)
    assert change.added == {
        "PATH": ["/opt/gcc/bin"],
        "LD_LIBRARY_PATH": ["/opt/gcc/lib64", "/opt/gcc/lib"],
    }
    assert change.removed == {"PATH": ["/bin"]}
    assert (change.set, change.unset) == ({"NEW": "line one\nPATH=/evil"}, ["GONE"])


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,6}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20),
    )
)
def test_an_environment_survives_its_dump(environment: dict[str, str]) -> None:
    data = b"".join(f"{k}={v}".encode() + b"\0" for k, v in environment.items())
    assert modules.parse_environment(data) == environment
    assert modules.compare(environment, environment) == modules.Change({}, {}, {}, [])


@given(st.text(max_size=300))
def test_no_text_upsets_a_parser(text: str) -> None:
    for shape in (text, "/m:\n" + text, "[" + text, "{" + text):
        for names in (
            modules.parse_terse(shape).names,
            modules.parse_avail_json(shape).names,
            tuple(x.name for x in modules.parse_spider(shape)),
            tuple(x.name for x in modules.parse_spider(modules.brief_spider(shape))),
        ):
            assert all(modules.is_name(name) for name in names)
        assert len(modules.complaint(shape)) <= 300
        modules.parse_version(shape)
        modules.kind_of(shape)


@given(st.lists(NAMES, max_size=12, unique=True))
def test_a_listing_is_read_back(names: list[str]) -> None:
    good = [name for name in names if modules.is_name(name)]
    assert modules.parse_terse("/m:\n" + "".join(x + "\n" for x in names)).names == tuple(good)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("\nModules based on Lua: Version 8.6.19  2022-04-16 13:46 -05:00\n", "8.6.19"),
        ("Modules Release 5.2.0 (2022-11-08)\n", "5.2.0"),
        ("Modules Release Tcl 4.1.4 (2018-08-20)\n", "4.1.4"),
        ("VERSION=3.2.10\nDATE=2012-12-21\n", "3.2.10"),
        ("nothing", ""),
    ],
)
def test_versions(text: str, version: str) -> None:
    assert modules.parse_version(text) == version


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("fftw/3.3.10", "fftw"),
        ("libs/FFTW3/3.3", "fftw"),
        ("fftw3", "fftw"),
        ("netcdf-c/4.9.2", "netcdf-c"),
        ("7/1", "7"),
    ],
)
def test_the_package_of_a_module(name: str, package: str) -> None:
    assert modules.package_of(name) == package


def test_further_packages_are_looked_at_where_they_are_asked_for() -> None:
    names = ("cmake/3.25", "gcc/12", "vim/9")
    assert modules.candidates(names, {}, 9)[0] == [("gcc/12",)]
    assert modules.candidates(names, {}, 9, ("cmake",))[0] == [("cmake/3.25",), ("gcc/12",)]

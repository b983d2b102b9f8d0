"""Held-out failures of configuring: autoconf, automake, cmake, make itself."""

from __future__ import annotations

from planted.blind_common import job
from planted.case import Case

MAIN = {"main.c": "int main(void) { return 0; }\n"}


def autoconf(body: str, start: str = "AC_PROG_CC\n") -> dict[str, str]:
    text = f"AC_INIT([wavesolve], [2.1])\n{start}{body}\nAC_OUTPUT\n"
    return {"configure.ac": text, "main.c": MAIN["main.c"]}


def automake(body: str = "") -> dict[str, str]:
    start = "AM_INIT_AUTOMAKE([foreign])\nAC_PROG_CC\n"
    text = "bin_PROGRAMS = wavesolve\nwavesolve_SOURCES = main.c\n"
    return autoconf(body + "\nAC_CONFIG_FILES([Makefile])", start) | {"Makefile.am": text}


def lists(body: str, languages: str = "C", version: str = "3.16") -> dict[str, str]:
    text = (
        f"cmake_minimum_required(VERSION {version})\nproject(wave LANGUAGES {languages})\n{body}\n"
    )
    return {"CMakeLists.txt": text, **MAIN}


CONFIGURE = "./configure --prefix=/opt/apps/wavesolve --enable-mpi && make -j2 && make install"
CMAKE = "cmake -S . -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build -j2"
FEW_TOOLS = (
    "mkdir few\nfor t in gcc cc make cmake ld as ar ranlib nm uname sed grep cat"
    " rm mkdir ls bash sh;"
    " do ln -s $(command -v $t) few/$t; done"
)

AUTOCONF_CASES = (
    Case(
        "bl-cf-fftw",
        "configure.a library that configure wants is not there",
        "no FFTW, the script says so itself",
        job(CONFIGURE),
        "autoconf",
        autoconf(
            "AC_CHECK_HEADERS([fftw3.h unistd.h])\nAC_SEARCH_LIBS([fftw_execute], [fftw3], [],"
            " [AC_MSG_ERROR([FFTW 3 is required; use --with-fftw=DIR or set"
            " CPPFLAGS and LDFLAGS])])"
        ),
    ),
    Case(
        "bl-cf-ldflags",
        "configure.the compiler cannot link because LDFLAGS names a missing library",
        "LIBS of another machine",
        "export LIBS='-L/opt/intel/mkl/lib -lmkl_rt'\n"
        + CONFIGURE
        + " || { s=$?; grep -A3 'cannot find' config.log; exit $s; }",
        "autoconf",
        autoconf("AC_CHECK_HEADERS([stdlib.h])"),
    ),
    Case(
        "bl-cf-cannot-run",
        "configure.what the compiler makes cannot be run",
        "a library that links and does not load",
        CONFIGURE.replace("./configure", 'LIBS="-L$PWD/lib -lsci" ./configure'),
        "mkdir lib\necho 'int sci;' | gcc -shared -fPIC -x c - -Wl,-soname,libsci_gnu.so.5"
        " -o lib/libsci.so\nautoconf",
        autoconf(
            "LDFLAGS='-Wl,--no-as-needed'", start="LDFLAGS='-Wl,--no-as-needed'\nAC_PROG_CC\n"
        ),
    ),
    Case(
        "bl-cf-prefix",
        "configure.a prefix that is not absolute",
        "--prefix=install",
        "./configure --prefix=install CC=gcc && make",
        "autoconf",
        autoconf(""),
    ),
    Case(
        "bl-cf-host",
        "configure.a host type that is not known",
        "--host misspelt",
        "./configure --host=x86-64-cray-linux_gnu --build=x86_64-pc-linux-gnu",
        "aclocal\nautoconf\nautomake --add-missing --copy 2>/dev/null",
        automake("AC_CANONICAL_HOST"),
    ),
    Case(
        "bl-cf-configured-twice",
        "configure.the source folder is configured already",
        "configured in the source, then in a folder",
        job("mkdir -p build && cd build && ../configure --prefix=$PWD/inst && make"),
        "aclocal\nautoconf\nautomake --add-missing --copy 2>/dev/null\n./configure >/dev/null",
        automake(),
    ),
    Case(
        "bl-cf-aclocal-version",
        "configure.the build wants another automake",
        "time stamps lost, so make runs the tools of the author",
        "sed -i 's/aclocal-[0-9.]*/aclocal-1.14/' Makefile\nsleep 1.1\ntouch"
        " configure.ac\nmake -j2",
        "aclocal\nautoconf\nautomake --add-missing --copy 2>/dev/null\n./configure >/dev/null",
        automake(),
    ),
    Case(
        "bl-cf-macro",
        "configure.an autoconf macro that is not known",
        "libtool is not there",
        "autoreconf -fi && ./configure",
        "",
        automake("LT_INIT([disable-static])\nAX_BLAS([], [exit 1])")
        | {"Makefile.am": "lib_LTLIBRARIES = libw.la\nlibw_la_SOURCES = main.c\n"},
    ),
    Case(
        "bl-cf-pkg-version",
        "configure.pkg-config knows an older version only",
        "libxc 5 in its .pc, 6 wanted",
        "export PKG_CONFIG_PATH=$PWD/pc\n" + CONFIGURE,
        "aclocal\nautoconf",
        autoconf("PKG_CHECK_MODULES([XC], [libxc >= 6.1])")
        | {"pc/libxc.pc": "Name: libxc\nDescription: xc\nVersion: 5.2.3\nLibs: -lxc\n"},
    ),
    Case(
        "bl-mk-none",
        "configure.there is no makefile",
        "make in the wrong folder",
        job("cd src && make -j2 all"),
        files={"src/a.c": "", "Makefile": "all:\n\ttrue\n"},
    ),
    Case(
        "bl-mk-separator",
        "configure.a makefile with blanks in the place of a tab",
        "pasted from a web page",
        "make CC=gcc ARCH=linux64",
        files={"Makefile": "ARCH ?= x\nall: main.c\n    $(CC) main.c -o main\n", **MAIN},
    ),
)

CMAKE_CASES = (
    Case(
        "bl-cm-gsl",
        "configure.cmake does not find a library",
        "no GSL here",
        job(CMAKE),
        files=lists("find_package(Threads REQUIRED)\nfind_package(GSL 2.5 REQUIRED)"),
    ),
    Case(
        "bl-cm-kokkos",
        "configure.cmake does not find the configuration of a package",
        "no Kokkos here",
        CMAKE,
        files=lists("find_package(Kokkos 4 CONFIG REQUIRED)\nadd_executable(wave main.c)"),
    ),
    Case(
        "bl-cm-generator",
        "configure.a generator that cmake does not know",
        "misspelt",
        "cmake -G 'Unix Makefile' -S . -B build",
        files=lists(""),
    ),
    Case(
        "bl-cm-generator-changed",
        "configure.the folder was configured with another generator",
        "first make, then ninja",
        CMAKE.replace("-S", "-G Ninja -S"),
        "cmake -S . -B build -G 'Unix Makefiles' >/dev/null",
        lists("add_executable(wave main.c)"),
    ),
    Case(
        "bl-cm-version",
        "configure.cmake is too old",
        "3.30 wanted",
        job("cmake --version\n" + CMAKE),
        files=lists("", version="3.30...3.31"),
    ),
    Case(
        "bl-cm-icpx",
        "configure.the compiler that is asked for is not there",
        "icpx without its module",
        CMAKE.replace("-S", "-DCMAKE_CXX_COMPILER=icpx -S"),
        files=lists("", "C CXX"),
    ),
    Case(
        "bl-cm-no-fortran",
        "configure.no Fortran compiler in the path",
        "only C is there",
        "PATH=$PWD/few\n" + CMAKE,
        FEW_TOOLS,
        lists("", "C Fortran"),
    ),
    Case(
        "bl-cm-moved",
        "configure.the cache belongs to another folder",
        "copied with its build folder",
        "cd there && cmake -S . -B build && make -C build",
        "mkdir here there\ncp CMakeLists.txt main.c here\ncp CMakeLists.txt main.c there\n"
        "cmake -S here -B here/build >/dev/null\ncp -r here/build there/build",
        lists("add_executable(wave main.c)"),
    ),
    Case(
        "bl-cm-openmp-version",
        "configure.cmake finds a version that is too old",
        "OpenMP 6 wanted",
        CMAKE,
        files=lists("find_package(OpenMP 6.0 REQUIRED COMPONENTS C)"),
    ),
    Case(
        "bl-cm-target",
        "configure.a target that no package made",
        "HDF5::HDF5 without its find_package",
        CMAKE,
        files=lists(
            "find_package(Threads REQUIRED)\nadd_executable(wave main.c)\n"
            "target_link_libraries(wave PRIVATE HDF5::HDF5 Threads::Threads)"
        ),
    ),
    Case(
        "bl-cm-toolchain",
        "configure.the toolchain file is not there",
        "a wrong path",
        CMAKE.replace("-S", "-DCMAKE_TOOLCHAIN_FILE=cmake/cray-gnu.cmake -S"),
        files=lists(""),
    ),
    Case(
        "bl-cm-no-lists",
        "configure.no CMakeLists.txt in the folder",
        "the folder above is the source",
        "mkdir -p build && cd build && cmake ../src -DWITH_MPI=ON && make",
        "mkdir src\ncp main.c src",
        lists(""),
    ),
    Case(
        "bl-cm-no-network",
        "configure.a source cannot be fetched without a network",
        "FetchContent on a compute node",
        job(CMAKE),
        files=lists(
            "include(FetchContent)\nFetchContent_Declare(json GIT_REPOSITORY"
            " https://git.hub.invalid/nlohmann/json.git GIT_TAG v3.11.2)\n"
            "FetchContent_MakeAvailable(json)"
        ),
    ),
    Case(
        "bl-cm-syntax",
        "configure.a mistake in CMakeLists.txt",
        "a parenthesis is missing",
        CMAKE,
        files=lists("if(WITH_MPI\n  message(STATUS hello)\nendif()\n"),
    ),
    Case(
        "bl-cm-old-cflag",
        "configure.the compiler test of cmake fails for a flag it does not know",
        "CFLAGS of the Intel compiler",
        "export CFLAGS='-O3 -xCORE-AVX512 -qopt-zmm-usage=high'\n" + CMAKE,
        files=lists(""),
    ),
)
CASES = (*AUTOCONF_CASES, *CMAKE_CASES)

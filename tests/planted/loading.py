"""Failures of the dynamic loader, and of the kernel that starts a program."""

from __future__ import annotations

from planted.case import Case

LIBRARY = {
    "lib.c": "int wave(int n) { return n + 1; }\n",
    "main.c": "int wave(int);\nint main(void) { return wave(-1); }\n",
}
BUILD = "mkdir lib\ngcc -shared -fPIC lib.c -o lib/libwave.so\ngcc main.c -Llib -lwave -o main\n"
OLDER = {
    "old.c": "int other(int n) { return n; }\n",
    "v.map": "WAVE_2 { global: wave; };\n",
    "w.map": "WAVE_1 { global: wave; };\n",
}
VERSIONS = """
mkdir lib
gcc -shared -fPIC lib.c -Wl,--version-script=v.map -Wl,-soname,libwave.so -o lib/libwave.so
gcc main.c -Llib -lwave -Wl,-rpath,$PWD/lib -o main
gcc -shared -fPIC lib.c -Wl,--version-script=w.map -Wl,-soname,libwave.so -o lib/libwave.so
"""
NEEDS = {"n.c": "void dgemm_(void);\nvoid go(void) { dgemm_(); }\n"}
PLUGIN = {"load.py": "import ctypes\nctypes.CDLL('./libplug.so', mode=ctypes.RTLD_GLOBAL)\n"}
CALLER = {
    "call.c": "#include <dlfcn.h>\n#include <stdio.h>\nint main(void)\n{\n"
    '    if (!dlopen("./libplug.so", RTLD_NOW)) {\n'
    '        fprintf(stderr, "cannot load plugin: %s\\n", dlerror());\n        return 3;\n    }\n'
    "    return 0;\n}\n"
}
STATIC_TLS = {
    "tls.c": 'static __thread char block[1 << 20] __attribute__((tls_model("initial-exec")));\n'
    "char *first(int n) { return block + n; }\n"
}
ARM = "printf '\\267' | dd of=%s bs=1 seek=18 conv=notrunc status=none"

CASES = (
    Case(
        "so-missing",
        "load.missing_library",
        "the library was moved away after the build",
        "LD_LIBRARY_PATH=$PWD/lib ./main",
        BUILD + "rm lib/libwave.so",
        LIBRARY,
    ),
    Case(
        "so-no-rpath",
        "load.missing_library",
        "built without rpath, LD_LIBRARY_PATH not set",
        "set -x\n./main",
        BUILD,
        LIBRARY,
    ),
    Case(
        "so-older",
        "load.undefined_symbol",
        "an older library that lacks the function",
        "LD_LIBRARY_PATH=lib ./main",
        BUILD + "gcc -shared -fPIC old.c -o lib/libwave.so",
        LIBRARY | OLDER,
    ),
    Case(
        "so-version",
        "load.symbol_version",
        "a library with an older symbol version",
        "./main",
        VERSIONS,
        LIBRARY | OLDER,
    ),
    Case(
        "dlopen-undefined",
        "load.undefined_symbol",
        "a plugin that needs a BLAS and names none",
        "./call",
        "gcc -shared -fPIC n.c -o libplug.so\ngcc call.c -o call",
        NEEDS | CALLER,
    ),
    Case(
        "ctypes-undefined",
        "load.undefined_symbol",
        "the same, loaded by Python",
        "python3 load.py",
        "gcc -shared -fPIC -Wl,-z,now n.c -o libplug.so",
        NEEDS | PLUGIN,
    ),
    Case(
        "so-empty",
        "load.damaged_library",
        "a library of no bytes",
        "LD_LIBRARY_PATH=lib ./main",
        BUILD + ": > lib/libwave.so",
        LIBRARY,
    ),
    Case(
        "so-not-elf",
        "load.damaged_library",
        "a linker script in the place of a library",
        "LD_LIBRARY_PATH=lib ./main",
        BUILD + "yes 'INPUT(libwave.so.1)' | head -9 > lib/libwave.so",
        LIBRARY,
    ),
    Case(
        "so-32-bit",
        "load.wrong_architecture",
        "a library of 32 bits (the class byte says so)",
        "LD_PRELOAD= LD_LIBRARY_PATH=lib ./main; ./call",
        BUILD
        + "cp lib/libwave.so libplug.so\ngcc call.c -o call\n"
        + "printf '\\1' | dd of=libplug.so bs=1 seek=4 conv=notrunc status=none\n"
        + "cp libplug.so lib/libwave.so",
        LIBRARY | CALLER,
    ),
    Case(
        "exec-foreign",
        "load.exec_format",
        "a program of AArch64",
        "./other",
        "gcc other.c -o other\n" + ARM % "other",
        {"other.c": "int main(void) { return 0; }\n"},
    ),
    Case(
        "no-interpreter",
        "load.bad_interpreter",
        "the first line names a Python that is not here",
        "./run.py",
        "chmod +x run.py",
        {"run.py": "#!/opt/python/3.99/bin/python3\nprint(1)\n"},
    ),
    Case(
        "no-loader",
        "load.bad_interpreter",
        "a program for another loader",
        "./main",
        "gcc m.c -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1 -o main",
        {"m.c": "int main(void) { return 0; }\n"},
    ),
    Case(
        "static-tls",
        "load.static_tls",
        "a plugin with a megabyte of static thread storage",
        "python3 load.py",
        "gcc -shared -fPIC tls.c -o libplug.so",
        STATIC_TLS | PLUGIN,
    ),
)

"""What a kernel's object may call: everything else is refused by name (forge.symbol_problem)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

# The C library: memory, mathematics (with the vector versions of libmvec), and what compilers put.
_ALWAYS = (
    r"_GLOBAL_OFFSET_TABLE_",
    r"(?:malloc|calloc|realloc|free|aligned_alloc|posix_memalign|memalign)",
    r"(?:mem(?:cpy|move|set|cmp)|__mem(?:cpy|move|set)_chk|__stack_chk_fail|bcmp)",
    r"(?:a?(?:sin|cos|tan)h?|atan2|exp2?|exp10|expm1|log|log2|log10|log1p|pow|sqrt|cbrt|hypot|fabs"
    r"|fma|fmin|fmax|fmod|fdim|floor|ceil|round|rint|nearbyint|trunc|l?lround|l?lrint|copysign"
    r"|ldexp|frexp|scalbl?n|i?logb|modf|remainder|remquo|nextafter|nexttoward|erfc?|[lt]gamma|nan"
    r"|sincos|[jy][01n]|c(?:abs|arg|exp|log|pow|sqrt|a?sinh?|a?cosh?|a?tanh?|proj|conj|real|imag))[fl]?",
    r"_ZGV[a-zA-Z]N?[0-9]*v*l?_[a-z0-9]+f?",
    r"__(?:[a-z]*(?:exp|log|pow|sin|cos|tan)[0-9]*f?_finite)",
    r"abs|labs|llabs|div|ldiv|qsort|__assert_fail|abort",
    # libgcc and compiler-rt: arithmetic that a CPU lacks.
    r"__(?:mul|div|udiv|mod|umod)[dst]i[34]|__(?:mul|div)[sdtx]c3|__powi[sdtx]f2"
    r"|__popcount[sd]i2|__cpu_(?:model|features2|indicator_init)|__fix.*|__float.*|__trunc.*|__extend.*"
    r"|__(?:add|sub|mul|div|neg|eq|ne|lt|le|gt|ge|unord)[sdxth]f[23]|__(?:ashl|ashr|lshr|cmp)[dt]i[23]"
    r"|__c[lt]z[dt]i2|__isnanf?|__isinff?|__finitef?|__signbitf?|__fpclassifyf?",
)
_OPENMP = (
    # Not what starts a team without ending it (of GCC before 4.9), nor what loads code for devices.
    r"GOMP_(?!parallel_(?:[a-z_]+_)?start|parallel_end|offload|PLUGIN|set_offload)[A-Za-z0-9_]+",
    r"omp_(?:get|set|in)_[a-z0-9_]+|omp_(?:init|destroy|unset|test)_(?:nest_)?lock(?:_with_hint)?",
    r"omp_(?:aligned_)?(?:alloc|calloc)|omp_(?:realloc|free)",
    r"__kmpc_[a-z0-9_]+",
)
_MPI = (
    # Neither its beginning and end, files, processes and clock, nor functions that it calls back
    # when the harness ends or fails.
    r"P?MPI_(?!Abort|Finalize|Init|File_|Comm_spawn|Open_port|Publish|Pcontrol|Wt|T_|Session_"
    r"|Register_|Errhandler_|Keyval_|Attr_|Comm_(?:accept|connect|join)|Grequest_"
    r"|[A-Za-z]+_(?:create|set|call)_(?:errhandler|keyval|attr))[A-Za-z0-9_]+",
    r"p?mpi_(?!abort|finalize|init|file_|comm_spawn|open_port|publish|pcontrol|wt|t_|session_"
    r"|register_|errhandler_|keyval_|attr_|comm_(?:accept|connect|join)|grequest_"
    r"|[a-z]+_(?:create|set|call)_(?:errhandler|keyval|attr))[a-z0-9_]+_",
    r"(?:p?mpi_[a-z0-9]+_f08(?:ts)?_|ompi_[a-z0-9_]+|mpi_fortran_[a-z0-9_]+_?|mpi_f08?_[a-z0-9_]+)",
)
# Of C++'s library what containers and algorithms call; neither streams nor threads nor files.
_CPP = (
    r"_Zn[aw][a-zA-Z]*|_Zd[al]Pv[a-zA-Z0-9_]*|__gxx_personality_v0|_Unwind_Resume",
    r"__cxa_(?:begin_catch|end_catch|rethrow|throw.*|allocate_exception|free_exception"
    r"|pure_virtual|call_unexpected|guard_[a-z]+|bad_cast|bad_typeid)|__dynamic_cast",
    r"_ZSt\d+__throw_.*|_ZSt9terminatev|_ZSt\d+_Rb_tree_.*|_ZNK?St8__detail.*|_ZSt11_Hash_bytes[a-zA-Z]*",
    r"_ZNK?St\d+(?:exception|bad_[a-z_]+|(?:logic|runtime|length|domain|range|overflow|underflow)"
    r"_error|out_of_range|invalid_argument)(?:[CD]\d|4what).*",
    r"_ZNK?SaI.*|_ZSt7nothrow|__libc_single_threaded|str(?:cmp|ncmp|len)|memchr",
    r"_ZNK?St7__cxx1112basic_stringI.*|_ZT[ISV](?:St\d*(?:exception|bad_|[a-z]+_error|out_of|inv)"
    r"|N10__cxxabiv1|[a-z]$|P).*",
)
_FORTRAN = (
    r"_gfortran_(?:matmul_[a-z0-9]+|internal_(?:un)?pack.*|pow_[a-z0-9_]+|transpose.*|reshape.*"
    r"|dot_product.*|sum.*|product.*|[ms]?(?:max|min)(?:val|loc).*|spread.*|cshift.*|eoshift.*"
    r"|runtime_error(?:_at)?|os_error(?:_at)?|associated|size[01]|norm2.*|any.*|all.*|count.*"
    r"|findloc.*|parity.*|i(?:all|any|parity)_.*|exponent_.*|set_exponent_.*|fraction_.*|nearest_.*"
    r"|r?rspacing_.*|spacing_.*|bessel_.*|erfc_scaled_.*|ishftc.*|eoshift.*|pack|unpack|cfi_desc_to_gfc_desc|gfc_desc_to_cfi_desc|bounds_check.*)",
    r"_Fortran[A]?(?:Sum|DotProduct|Matmul|Maxval|Minval|Norm2|Transpose)[A-Za-z0-9]*",
)
_BY_LANGUAGE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"c": (), "c++": _CPP, "fortran": _FORTRAN}
)
# The BLAS: its three levels, by their names for C and for Fortran; nothing that sets threads.
_BY_LIBRARY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "m": (),
        "openblas": (
            r"(?:cblas_)?i?[sdcz]{1,2}(?:asum|axpy|copy|dot[cu]?|nrm2|rotm?g?|scal|swap|a?max|dsdot"
            r"|(?:ge|gb|he|hb|hp|sy|sb|sp|tr|tb|tp)(?:mv|sv|mm|sm|r[uc]?2?|rk|r2k))_?",
        ),
    }
)
_BY_PARALLEL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"serial": (), "openmp": _OPENMP, "mpi": _MPI}
)


# What a whole program needs besides: files in its folder, text, its arguments, clocks, an end.
_PROGRAM = (
    r"f(?:open|close|read|write|seeko?|tello?|flush|eof|error|gets|puts|getc|putc|ileno)(?:64)?"
    r"|rewind|remove|setv?buf|getc|putc|getchar|putchar|puts|ungetc|getline|perror|std(?:in|out|err)",
    r"(?:__isoc99_|__isoc23_)?[fs]?scanf|v?[fs]?n?printf|__v?[fs]?n?printf_chk|__f(?:gets|read)_chk",
    r"str[a-z_]+|__str[a-z]+(?:_chk|_internal)?|(?:__isoc23_)?strto[a-z]+|atoi|atol|atoll|atof|mem[a-z]+"
    r"|__ctype_[a-z_]+|is[a-z]+|to(?:lower|upper)|__errno_location",
    r"exit|_exit|_Exit|getenv|time|clock|clock_gettime|gettimeofday|omp_get_wtime|bsearch|s?rand(?:_r)?",
    r"__libc_start_main|getopt(?:_long)?|opt(?:arg|ind|err|opt)",
)
_PROGRAM_MPI = (
    r"MPI_(?:Abort|Finalized?|Init(?:_thread|ialized)?|File_[a-z_]+|Wtime|Wtick)",
    r"mpi_(?:abort|finalized?|init(?:_thread|ialized)?|file_[a-z_]+|wtime|wtick)_(?:f08_?)?",
)
# Of Fortran's library and C++'s all but what starts processes, or loads code.
_PROGRAM_LANGUAGE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "c": (),
        "c++": (
            r"_ZNK?(?:St|S[aosidb])(?!.*(?:thread|condition_variable|filesystem|random_device)).*",
            r"_ZSt.*|_ZT[ISV]N?St.*|_ZT[ISV]S.*|_ZG[VR].*|__cxa_atexit|__dso_handle",
        ),
        "fortran": (
            r"_gfortran_(?!.*(?:system|execute_command|kill|fork|signal|chdir|unlink|rename)).*",
            r"_Fortran(?!.*(?:ExecuteCommandLine|System)).*",
        ),
    }
)


def allowed_calls(
    language: str, parallel: str, libraries: Sequence[str] = (), program: bool = False
) -> list[str]:
    """Patterns of names, for a kernel of this language and parallel model with these libraries, or
    for a whole program."""
    found = [*_ALWAYS, *_BY_LANGUAGE[language], *_BY_PARALLEL[parallel]]
    found += [pattern for name in libraries for pattern in _BY_LIBRARY[name]]
    if program:
        found += [*_PROGRAM, *_PROGRAM_LANGUAGE[language]]
        found += _PROGRAM_MPI if parallel == "mpi" else ()
    return found

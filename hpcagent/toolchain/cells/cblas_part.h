/* CBLAS through the header that the compiler finds (CELL_CBLAS: its name in brackets; CELL_CBLAS64:
 * the path, in quotes, of a cblas64.h that goes before it where there is one): whose it is, how wide
 * its integers are, and whether the library agrees. */
#ifndef CELL_CBLAS_PART_H
#define CELL_CBLAS_PART_H
#ifdef __cplusplus
extern "C" { /* not every cblas.h has this itself */
#endif
#ifdef CELL_CBLAS64
#if __has_include(CELL_CBLAS64)
#include <cblas64.h>
#else
#include CELL_CBLAS
#endif
#else
#include CELL_CBLAS
#endif
#ifdef __cplusplus
}
#endif
#include "readback.h"

/* By macros that only one of them defines; netlib's cblas.h has none of its own, and so is what
 * remains. */
static const char *header_family(void)
{
#if defined(INTEL_MKL_VERSION) || defined(__INTEL_MKL__)
    return "mkl";
#elif defined(BLIS_H) || defined(BLIS_TYPE_DEFS_H) || defined(BLIS_VERSION_STRING)
    return "blis";
#elif defined(OPENBLAS_VERSION) || defined(OPENBLAS_CONFIG_H)
    return "openblas";
#elif defined(CBLAS_ENUM_DEFINED_H)
    return "atlas";
#elif defined(ARMPL_H) || defined(ARMPL_INT)
    return "armpl";
#else
    return "reference";
#endif
}

#ifdef __cplusplus
template <class Int>
static int header_bits_of(double (*)(Int, const double *, Int, const double *, Int))
{
    return 8 * (int)sizeof(Int);
}
#define HEADER_BITS() header_bits_of(&CELL_CNAME(cblas_ddot))
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define HEADER_TYPE(type) double (*)(type, const double *, type, const double *, type)
#define HEADER_BITS()                                                                              \
    _Generic(&CELL_CNAME(cblas_ddot), HEADER_TYPE(int): 32, HEADER_TYPE(long): 64,                 \
             HEADER_TYPE(long long): 64, default: 0)
#else
#define HEADER_BITS() 0
#endif

static int say_cblas(void)
{
    int bits = HEADER_BITS();
    say("cblas_header", header_family());
    say_path("cblas_library", bound(CELL_TEXT(CELL_CNAME(cblas_dgemm))));
    say_number("cblas_header_bits", bits);
    return bits;
}

static int cblas_wrong(void)
{
    double a[6] = {1, 2, 3, 4, 5, 6}, b[6] = {7, 8, 9, 10, 11, 12}, c[4] = {0, 0, 0, 0};
    CELL_CNAME(cblas_dgemm)(CblasRowMajor, CblasNoTrans, CblasNoTrans, 2, 2, 3, 1.0, a, 3, b, 2,
                            0.0, c, 2);
    return c[0] != 58 || c[1] != 64 || c[2] != 139 || c[3] != 154 ||
           CELL_CNAME(cblas_idamax)(6, a, 1) != 5;
}

#endif

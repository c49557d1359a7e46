/* Intrinsics of the instruction set that is compiled for, and no more.
 *
 * GCC reads all of immintrin.h for a quarter of a second, in each of 160 files; its parts ask only that it was begun. */
#ifndef FN_INTRIN_H
#define FN_INTRIN_H
#if defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__SSE2__) && !defined(__AVX2__)
#include <emmintrin.h>
#elif defined(__AVX2__) && (defined(__clang__) || !defined(__GNUC__))
#include <immintrin.h>
#elif defined(__AVX2__)
#include <smmintrin.h>
#include <wmmintrin.h>
#define _IMMINTRIN_H_INCLUDED
#include <avxintrin.h>
#include <avx2intrin.h>
#include <fmaintrin.h>
#if defined(__AVX512F__)
#include <avx512fintrin.h>
#include <avx512vlintrin.h>
#include <avx512bwintrin.h>
#include <avx512dqintrin.h>
#include <avx512vlbwintrin.h>
#include <avx512vldqintrin.h>
#endif
#if defined(__AMX_TILE__)
#include <amxtileintrin.h>
#include <amxbf16intrin.h>
#endif
#endif
#endif

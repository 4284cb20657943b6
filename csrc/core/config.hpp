// What lets one header serve g++ (scalar and SIMD, several instruction sets) and nvcc.
#pragma once

// SOFTDIFF_OUTLINE: code that few threads run and that would cost the others registers if it were inlined.
#if defined(__CUDACC__)
#define SOFTDIFF_INLINE __host__ __device__ __forceinline__
#define SOFTDIFF_UNROLL _Pragma("unroll")
#define SOFTDIFF_OUTLINE inline __host__ __device__ __noinline__
#else
#define SOFTDIFF_INLINE inline __attribute__((always_inline))
#define SOFTDIFF_UNROLL _Pragma("GCC unroll 128")
#define SOFTDIFF_OUTLINE inline
#endif
#define SOFTDIFF_INLINE_LAMBDA __attribute__((always_inline))

// Translation units built for different instruction sets must not share one copy of an inline function: the linker keeps any
// one of them, and a machine without AVX-512 would meet AVX-512 code. So each unit names its own inline namespace.
#ifndef SOFTDIFF_ISA
#define SOFTDIFF_ISA portable
#endif

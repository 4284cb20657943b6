// How a kernel is written, so that nvcc and the emulator run the same code. A kernel is a type with
//
//   Params                      plain data, passed by value
//   kName                       what errors and reports call it
//   kMaxThreads, kMinBlocks     bounds for the compiler (__launch_bounds__)
//   kMostPhases                 the most phases there can be, all in one straight line of code; 0: steps of a program, in a
//   loop phases(params)              how many phases, the same for all threads; a barrier stands between two phases, never in
//   one template <class Space> static void phase(int i, const Params&, Where, typename Space::Shared)     one phase of one
//   thread
//
// all of them static, phases and phase SOFTDIFF_INLINE. No register survives a phase: what one phase leaves for another is in
// shared or global memory. A block sees only what it wrote itself to global memory, and what earlier launches did.
//
// A Launcher puts kernels on a stream and finds memory: launcher.template run<Kernel>(shape, params) (nothing for 0 blocks),
// launcher.workspace(bytes) and launcher.table(key, host, bytes), which are those of cuda::Memory, and
// launcher.most_scratch_bytes(), how much a chunk of large planes may take of it.
// CUDA's Launcher is in launcher.cuh, the emulator's in emulation/launcher.hpp.
#pragma once

#include <cstdint>

#include "../core/config.hpp"

// A loop whose body is there once, twice or 8 times: what SOFTDIFF_UNROLL is not.
#if defined(__CUDACC__)
#define SOFTDIFF_ROLLED _Pragma("unroll 1")
#define SOFTDIFF_UNROLL_2 _Pragma("unroll 2")
#define SOFTDIFF_UNROLL_8 _Pragma("unroll 8")
#else
#define SOFTDIFF_ROLLED
#define SOFTDIFF_UNROLL_2
#define SOFTDIFF_UNROLL_8
#endif

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// The place of a thread: block of the grid, thread of the block, threads in a block.
struct Where {
    std::int64_t block;
    int thread;
    int threads;
};

// The same place, but the compiler does not know it. In a loop over phases what is worked out from it is worked out by each
// phase anew, and takes no registers from the others.
SOFTDIFF_INLINE Where forgotten(Where where) {
#if defined(__CUDA_ARCH__)
    asm volatile("" : "+r"(where.thread));
#endif
    return where;
}

struct LaunchShape {
    std::int64_t blocks;
    int threads;
    int shared_bytes;
};

constexpr int kMaxSharedBytes = 99 * 1024;  // what every architecture from 8.0 on gives a block

constexpr std::int64_t ceil_of(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// How a line of N values is transformed: N = radix * leaf, with tables that depend on N only. Built once per N and cached; the
// kernels of every instruction set read the same plan.
#pragma once

#include <cstdint>

namespace softdiff {

constexpr int kMaxRadix = 32;
constexpr int kMaxLeaf = 32;

// Leaves that exist as straight-line code (core/codelets.hpp); others are dense matrices.
constexpr bool has_codelet(int n) { return n >= 1 && (n <= 16 || (n <= kMaxLeaf && n % 2 == 0)); }

// Slots whose outputs meet in butterflies: output k of slot `first` and output mirror - k of slot `second`. A slot without
// butterflies has second = -1.
struct SlotPair {
    std::int32_t first, second, mirror;
};

template <class T>
struct LinePlan {
    int size;
    int radix;
    int leaf;
    bool codelet;
    const T* factors;               // [leaf][rotations per position][4], in order of use (core/radix.hpp)
    int butterflies;                // pairs of outputs to add and subtract after the leaves, in order
    const std::int32_t* butterfly;  // [butterflies][2]
    int pairs;                      // 0 where some output meets more than one butterfly (radix 16 and up)
    const SlotPair* pair;           // [pairs]: every slot is in one
    const std::int32_t* frequency;  // [size]: the frequency that each output holds
    const std::int32_t* position;   // [size]: where each frequency is; the inverse of `frequency`
    const T* even;                  // dense leaf: even outputs of C2, packed for matvec
    const T* odd;                   //             odd outputs of C2
    const T* even_transposed;       //             the same for C3
    const T* odd_transposed;
    const T* dct4;             //             C4
    const T* weight;           // [size]: 2 / N, or 1 / N at frequency 0, in output order: C3 . weight . C2 = identity
    const T* root_weight;      // [size]: its square root: root_weight . C2 is orthonormal
    const double* eigenvalue;  // [size]: (pi k / N)^2 in output order
};

constexpr int kMatvecBlock = 8;  // outputs that a dense leaf computes at a time

// Throws std::bad_alloc only. The reference stays valid for the life of the process.
template <class T>
const LinePlan<T>& line_plan(std::int64_t size);

}  // namespace softdiff

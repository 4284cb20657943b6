// How a line of N values is transformed: N = radix * leaf, with tables that depend on N only. Built once per N and cached; the
// kernels of every instruction set read the same plan.
#pragma once

#include <cstdint>

#include "odd_plan.hpp"

namespace softdiff {

constexpr int kMaxRadix = 32;

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
    const OddPlan<T>* odd;          // the leaf's own plan, null where it is a codelet
    const T* weight;                // [size]: 2 / N, or 1 / N at frequency 0, in output order: C3 . weight . C2 = identity
    const T* root_weight;           // [size]: its square root: root_weight . C2 is orthonormal
    const double* eigenvalue;       // [size]: (pi k / N)^2 in output order
};

// Throws std::bad_alloc only. The reference stays valid for the life of the process.
template <class T>
const LinePlan<T>& line_plan(std::int64_t size);

}  // namespace softdiff

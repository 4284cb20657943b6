// Runs of the counter-based normal numbers of core/normal.hpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../core/normal.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Block b: elements 64 b .. 64 b + 63.
template <class T>
inline void normal_block(std::int64_t block, std::uint64_t seed, T* out) {
    const std::uint64_t first = static_cast<std::uint64_t>(block) * kNormalLanes;
#pragma omp simd
    for (int lane = 0; lane < kNormalLanes; ++lane) {
        T four[4];
        normal4(first + lane, seed, four);
        out[lane] = four[0];
        out[kNormalLanes + lane] = four[1];
        out[2 * kNormalLanes + lane] = four[2];
        out[3 * kNormalLanes + lane] = four[3];
    }
}

// Room that normal_run needs beyond `count`.
constexpr int kNormalSlack = 2 * kNormalBlock;

// Elements first .. first + count - 1; returned pointer is into `buffer` [count + kNormalSlack].
template <class T>
inline const T* normal_run(std::int64_t first, std::int64_t count, std::uint64_t seed, T* buffer) {
    const std::int64_t block = first / kNormalBlock, last = (first + count + kNormalBlock - 1) / kNormalBlock;
    for (std::int64_t b = block; b < last; ++b) normal_block(b, seed, buffer + (b - block) * kNormalBlock);
    return buffer + (first - block * kNormalBlock);
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

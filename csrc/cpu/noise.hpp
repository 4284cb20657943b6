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
    std::uint32_t words[4][kNormalLanes];
    for (int lane = 0; lane < kNormalLanes; ++lane) {
        const PhiloxWords r = philox(first + lane, seed);
        words[0][lane] = r.word[0];
        words[1][lane] = r.word[1];
        words[2][lane] = r.word[2];
        words[3][lane] = r.word[3];
    }
    for (int k = 0; k < 4; k += 2) {
#pragma omp simd
        for (int lane = 0; lane < kNormalLanes; ++lane) {
            const NormalPair<T> pair = box_muller<T>(words[k][lane], words[k + 1][lane]);
            out[k * kNormalLanes + lane] = pair.first;
            out[(k + 1) * kNormalLanes + lane] = pair.second;
        }
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

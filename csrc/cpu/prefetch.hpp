// What comes into the cache while the rows of a plane are worked on: the memory of its output, and the images of the next
// plane.
//
// A core waits for a dozen lines of 64 bytes at most; behind a longer run of them all stands still, arithmetic too. So they are
// asked for a few at a time: while vectors are turned (transpose in simd.hpp), and between two transforms.
#pragma once

#include <algorithm>
#include <cstddef>

#include "../core/config.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr int kCacheLine = 64;

enum class FetchFor { kRead, kReadLater, kWrite };  // kReadLater: to the second cache, where more fits

template <FetchFor For>
SOFTDIFF_INLINE void fetch_line(const char* line) {
    if constexpr (For == FetchFor::kWrite) {
        __builtin_prefetch(line, 1, 3);
    } else {
        __builtin_prefetch(line, 0, For == FetchFor::kRead ? 3 : 2);
    }
}

// With each vector of a block of Lanes that is turned, the memory that the vector of this number takes in another plane.
template <FetchFor For, class Storage, int Lanes>
struct BlockFetch {
    const char* data;

    SOFTDIFF_INLINE BlockFetch block(int number) const { return {data + static_cast<std::ptrdiff_t>(number) * Lanes * kBytes}; }
    SOFTDIFF_INLINE void operator()(int vector) const {
        if (vector % kVectorsInLine == 0) fetch_line<For>(data + vector * kBytes);
    }

  private:
    static constexpr int kBytes = Lanes * static_cast<int>(sizeof(Storage));
    static constexpr int kVectorsInLine = std::max(1, kCacheLine / kBytes);
};

struct NoFetch {
    SOFTDIFF_INLINE NoFetch block(int) const { return {}; }
    SOFTDIFF_INLINE void operator()(int) const {}
};

// What `Lanes` rows of a square of side N fetch: as many rows of the output, then of `Reads` images.
template <class Storage, int Lanes, int Reads>
struct RowsFetch {
    const char* write;
    const char* read[Reads];

    // In lines: of one operand, of all.
    template <int N>
    static constexpr int kEach = (N * Lanes * static_cast<int>(sizeof(Storage)) + kCacheLine - 1) / kCacheLine;
    template <int N>
    static constexpr int kAll = (1 + Reads) * kEach<N>;

    // From row h on.
    template <int N>
    SOFTDIFF_INLINE RowsFetch from_row(int h) const {
        RowsFetch rows = *this;
        const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(h) * N * static_cast<int>(sizeof(Storage));
        rows.write += offset;
        for (int i = 0; i < Reads; ++i) rows.read[i] += offset;
        return rows;
    }

    template <int N>
    SOFTDIFF_INLINE void lines(int first, int last) const {
        SOFTDIFF_UNROLL
        for (int i = first; i < last; ++i) {
            if (i < kEach<N>) {
                fetch_line<FetchFor::kWrite>(write + i * kCacheLine);
            } else {
                fetch_line<FetchFor::kRead>(read[i / kEach<N> - 1] + i % kEach<N> * kCacheLine);
            }
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

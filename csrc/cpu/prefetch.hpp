// What comes into the cache while the rows of a plane are worked on: the memory of its output, and the images of the next
// plane.
//
// A core waits for a dozen lines of 64 bytes at most; behind a longer run of them all stands still, arithmetic too. So they are
// asked for a few at a time: while vectors are turned (transpose in simd.hpp), and between two transforms.
#pragma once

#include <algorithm>
#include <cstddef>

#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr int kCacheLine = 64;

enum class FetchFor { kRead, kReadLater, kWrite };  // kReadLater: to the second cache, where more fits

// The cache line of an address; one that is nowhere does no harm.
template <FetchFor For>
SOFTDIFF_INLINE void fetch_line(const void* address) {
    if constexpr (For == FetchFor::kWrite) {
        __builtin_prefetch(address, 1, 3);
    } else {
        __builtin_prefetch(address, 0, For == FetchFor::kRead ? 3 : 2);
    }
}

// With each vector of a block of Lanes that is turned, the memory that the vector of this number takes in another plane; none
// where `data` is null.
template <FetchFor For, class Storage, int Lanes>
struct BlockFetch {
    const Storage* data;

    SOFTDIFF_INLINE BlockFetch block(int number) const { return {data + static_cast<std::ptrdiff_t>(number) * Lanes * Lanes}; }
    SOFTDIFF_INLINE void operator()(int vector) const {
        constexpr int kVectorsInLine = std::max(1, kCacheLine / (Lanes * static_cast<int>(sizeof(Storage))));
        if (vector % kVectorsInLine == 0) fetch_line<For>(data + vector * Lanes);
    }
};

struct NoFetch {
    static constexpr const void* data = nullptr;
    SOFTDIFF_INLINE Nothing block(int) const { return {}; }
};

// What `Lanes` rows of a square of side N fetch: as many rows of the output, then of `Reads` images.
template <class Storage, int Lanes, int Reads>
struct RowsFetch {
    const Storage* write;
    const Storage* read[Reads];

    // In lines: of one operand, of all.
    static constexpr int kLine = kCacheLine / static_cast<int>(sizeof(Storage));
    template <int N>
    static constexpr int kEach = (N * Lanes + kLine - 1) / kLine;
    template <int N>
    static constexpr int kAll = (1 + Reads) * kEach<N>;

    // From row h on.
    template <int N>
    SOFTDIFF_INLINE RowsFetch from_row(int h) const {
        RowsFetch rows = *this;
        rows.write += static_cast<std::ptrdiff_t>(h) * N;
        for (int i = 0; i < Reads; ++i) rows.read[i] += static_cast<std::ptrdiff_t>(h) * N;
        return rows;
    }

    template <int N>
    SOFTDIFF_INLINE void lines(int first, int last) const {
        SOFTDIFF_UNROLL
        for (int i = first; i < last; ++i) {
            if (i < kEach<N>) {
                fetch_line<FetchFor::kWrite>(write + i * kLine);
            } else {
                fetch_line<FetchFor::kRead>(read[i / kEach<N> - 1] + i % kEach<N> * kLine);
            }
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

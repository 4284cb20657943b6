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

// A plane in memory of which something is fetched; nothing where `data` is null.
struct FetchedPlane {
    const char* data = nullptr;
    int element = 0;  // bytes
};

// Both of the following count in rows of the type of the arithmetic. Rows stored in 16 bits are half as long: their lines are
// asked for twice, the second time in the cache, so that one code serves all types of storage.

// With each vector of a block that is turned, the memory that the vector of this number takes in another plane.
template <FetchFor For>
struct BlockFetch {
    FetchedPlane plane;

    // Of the block of this number; a block is Lanes x Lanes elements.
    template <int Lanes>
    SOFTDIFF_INLINE BlockFetch block(int number) const {
        return {{plane.data + static_cast<std::ptrdiff_t>(number) * Lanes * Lanes * plane.element, plane.element}};
    }
    SOFTDIFF_INLINE bool nothing() const { return !plane.data; }
    SOFTDIFF_INLINE void operator()(int vector) const {
        constexpr int kVectorsInLine = std::max(1, kCacheLine / kVectorBytes);
        if (vector % kVectorsInLine == 0) fetch_line<For>(plane.data + vector * kVectorBytes);
    }
};

struct NoFetch {
    template <int Lanes>
    SOFTDIFF_INLINE Nothing block(int) const {
        return {};
    }
    SOFTDIFF_INLINE bool nothing() const { return true; }
};

// What a block of rows, as many as a vector has lanes, of a square of side N fetches: as many rows of the output, then of
// `Reads` images.
template <int Reads>
struct RowsFetch {
    const char* write;
    const char* read[Reads];
    int element;  // bytes

    // In lines: of one operand, of all.
    template <int N>
    static constexpr int kEach = (N * kVectorBytes + kCacheLine - 1) / kCacheLine;
    template <int N>
    static constexpr int kAll = (1 + Reads) * kEach<N>;

    // From row h on.
    template <int N>
    SOFTDIFF_INLINE RowsFetch from_row(int h) const {
        const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(h) * N * element;
        RowsFetch rows = *this;
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

// A few rows at a time times a dense matrix with the symmetry of a DCT: lanes are outputs, and each number of a row is
// broadcast. The sums of a row's two ends meet the even part of the matrix and their differences the odd one, which halves the
// work.
#pragma once

#include <algorithm>
#include <utility>

#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T, int... I>
SOFTDIFF_INLINE Vec<T> reversed(Vec<T> v, std::integer_sequence<int, I...>) {
    constexpr int kLast = static_cast<int>(sizeof...(I)) - 1;
    return __builtin_shufflevector(v, v, (kLast - I)...);
}
template <class T>
SOFTDIFF_INLINE Vec<T> reversed(Vec<T> v) {
    return reversed<T>(v, std::make_integer_sequence<int, kLanes<T>>{});
}

// Registers for sums, which leaves some for factors.
constexpr int kSumRegisters = kVectorBytes == 64 ? 24 : 12;
constexpr int kMostRows = 8;

// `Half` vectors for the even and as many for the odd part of a row's outputs.
template <class T, int Half, int Rows = std::min(kMostRows, kSumRegisters / (2 * Half))>
struct FoldedRows {
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;
    static constexpr int kRows = Rows;
    static constexpr int kSide = 2 * Half * L;  // numbers of a row in a buffer

    V even[Rows][Half]{}, odd[Rows][Half]{};

    // The vectors of a row or of half of one: the last ends where it does.
    static SOFTDIFF_INLINE int offset(int vector, int end) { return vector == 0 ? 0 : end - L; }

    // The row's sums x[i] + x[n-1-i] to a row of a buffer, and from Half L on the differences. Only the vectors at offsets of
    // n/2 are read; `low` and `high` are where the row begins for its lower half, and for its upper one.
    static SOFTDIFF_INLINE void fold(const T* low, const T* high, int n, T* to) {
        SOFTDIFF_UNROLL
        for (int v = 0; v < Half; ++v) {
            const int i = offset(v, n / 2);
            const V a = load(low + i), b = reversed<T>(load(high + n - L - i));
            store(to + i, a + b);
            store(to + Half * L + i, a - b);
        }
    }

    // Adds the products of numbers in a buffer: number i of an even half is at Step i of a row, of an odd one at Step i + Odd.
    // The even half has one more where n is odd. meanwhile(i) for each i < n/2.
    template <int Step, int Odd, class Meanwhile>
    SOFTDIFF_INLINE void sum_up(const T* buffer, int n, const T* even_factors, const T* odd_factors, Meanwhile meanwhile) {
        for (int i = 0; i < n / 2; ++i, even_factors += Half * L, odd_factors += Half * L) {
            add<Step>(even_factors, buffer, i, even);
            add<Step>(odd_factors, buffer + Odd, i, odd);
            meanwhile(i);
        }
        if (n % 2 == 1) add<Step>(even_factors, buffer, n / 2, even);
    }

    // put(first output, values) for a row's outputs where even and odd are parts of either end; every output at least once.
    template <class Put>
    SOFTDIFF_INLINE void unfold(int row, int n, Put put) const {
        SOFTDIFF_UNROLL
        for (int v = 0; v < Half; ++v) {
            const int i = offset(v, (n + 1) / 2);
            put(i, even[row][v] + odd[row][v]);
            put(n - L - i, reversed<T>(even[row][v] - odd[row][v]));
        }
    }

  private:
    template <int Step>
    static SOFTDIFF_INLINE void add(const T* factors, const T* buffer, int i, V (*sum)[Half]) {
        V factor[Half];
        SOFTDIFF_UNROLL
        for (int v = 0; v < Half; ++v) factor[v] = load(factors + v * L);
        SOFTDIFF_UNROLL
        for (int r = 0; r < Rows; ++r) {
            const T value = buffer[r * kSide + Step * i];
            SOFTDIFF_UNROLL
            for (int v = 0; v < Half; ++v) sum[r][v] += value * factor[v];
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

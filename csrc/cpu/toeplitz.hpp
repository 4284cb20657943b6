// Small matrices times vectors of SIMD values: the dense and the Toeplitz blocks of odd.hpp. As many sums as there are
// registers for are kept at a time, so that each loaded value is used that often; coefficients are broadcast from memory.
#pragma once

#include "odd_plan.hpp"
#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// 32 vector registers with AVX-512, 16 below.
constexpr int kRealSums = 12;
constexpr int kComplexSums = kVectorBytes == 64 ? 8 : 4;

// Calls block(rows as a compile-time number, first row) so that all rows are covered; blocks may overlap.
template <int Most, class Block>
SOFTDIFF_INLINE void for_row_blocks(int all, Block block) {
    const int blocks = ceil_div(all, Most), rows = ceil_div(all, blocks);
    const auto run = [&](auto size) {
        for (int i = 0; i < blocks; ++i) block(size, i * rows < all - rows ? i * rows : all - rows);
    };
    switch (rows) {
        case 1: return run(std::integral_constant<int, 1>{});
        case 2: return run(std::integral_constant<int, 2>{});
        case 3: return run(std::integral_constant<int, 3>{});
        case 4: return run(std::integral_constant<int, 4>{});
        default: break;
    }
    if constexpr (Most > 4) {
        switch (rows) {
            case 5: return run(std::integral_constant<int, 5>{});
            case 6: return run(std::integral_constant<int, 6>{});
            case 7: return run(std::integral_constant<int, 7>{});
            case 8: return run(std::integral_constant<int, 8>{});
            default: break;
        }
    }
    if constexpr (Most > 8) {
        switch (rows) {
            case 9: return run(std::integral_constant<int, 9>{});
            case 10: return run(std::integral_constant<int, 10>{});
            case 11: return run(std::integral_constant<int, 11>{});
            default: return run(std::integral_constant<int, 12>{});
        }
    }
}

// y[s] = start + sum_t q[s - t + m - 1] x[t], for s, t < m.
template <class T>
[[gnu::noinline]] void real_toeplitz(const T* q, int m, Vec<T> start, const Vec<T>* __restrict x, Vec<T>* __restrict y) {
    for_row_blocks<kRealSums>(m, [&](auto rows, int first) {
        constexpr int kRows = rows;
        Vec<T> sum[kRows];
        SOFTDIFF_UNROLL
        for (int s = 0; s < kRows; ++s) sum[s] = start;
        const T* factor = q + first + m - 1;
        for (int t = 0; t < m; ++t, --factor) {
            const Vec<T> value = x[t];
            SOFTDIFF_UNROLL
            for (int s = 0; s < kRows; ++s) sum[s] += value * factor[s];
        }
        SOFTDIFF_UNROLL
        for (int s = 0; s < kRows; ++s) y[first + s] = sum[s];
    });
}

// The same for complex q [2 m - 1][re, im] and x, y in separate real and imaginary parts.
template <class T>
[[gnu::noinline]] void complex_toeplitz_blocks(const T* q, int m, const Vec<T>* __restrict re, const Vec<T>* __restrict im,
                                               Vec<T>* __restrict out_re, Vec<T>* __restrict out_im) {
    for_row_blocks<kComplexSums>(m, [&](auto rows, int first) {
        constexpr int kRows = rows;
        Vec<T> a[kRows] = {}, b[kRows] = {};
        const T* factor = q + 2 * (first + m - 1);
        for (int t = 0; t < m; ++t, factor -= 2) {
            const Vec<T> p = re[t], r = im[t];
            SOFTDIFF_UNROLL
            for (int s = 0; s < kRows; ++s) {
                a[s] += p * factor[2 * s];
                b[s] += r * factor[2 * s];
                a[s] -= r * factor[2 * s + 1];
                b[s] += p * factor[2 * s + 1];
            }
        }
        SOFTDIFF_UNROLL
        for (int s = 0; s < kRows; ++s) {
            out_re[first + s] = a[s];
            out_im[first + s] = b[s];
        }
    });
}

// M = m in registers, 0 for sizes known at run time only.
template <class T, int M>
SOFTDIFF_INLINE void complex_toeplitz(const T* q, int m, const Vec<T>* re, const Vec<T>* im, Vec<T>* out_re, Vec<T>* out_im) {
    if constexpr (M == 0) {
        complex_toeplitz_blocks(q, m, re, im, out_re, out_im);
    } else {
        Vec<T> a[M] = {}, b[M] = {};
        SOFTDIFF_UNROLL
        for (int t = 0; t < M; ++t) {
            const Vec<T> p = re[t], r = im[t];
            SOFTDIFF_UNROLL
            for (int s = 0; s < M; ++s) {
                const T c = q[2 * (s - t + M - 1)], d = q[2 * (s - t + M - 1) + 1];
                a[s] += p * c;
                b[s] += r * c;
                a[s] -= r * d;
                b[s] += p * d;
            }
        }
        SOFTDIFF_UNROLL
        for (int s = 0; s < M; ++s) {
            out_re[s] = a[s];
            out_im[s] = b[s];
        }
    }
}

// y[k] = start + sum_j M[k][j] x[j], square, M packed as HalfDft says. Summed in runs, so that rounding grows with the number
// of runs and the length of one, not with the number of columns.
constexpr int kDenseRun = 32;
template <class T>
[[gnu::noinline]] void dense(const T* matrix, int size, Vec<T> start, const Vec<T>* __restrict x, Vec<T>* __restrict y) {
    for_row_blocks<kMaxDenseRows>(size, [&](auto rows, int first) {
        constexpr int kRows = rows;
        const T* factor = matrix + static_cast<std::ptrdiff_t>(first + kRows - 1) / kRows * kRows * size;
        for (int begin = 0; begin < size; begin += kDenseRun) {
            const int end = begin + kDenseRun < size ? begin + kDenseRun : size;
            Vec<T> sum[kRows] = {};
            for (int j = begin; j < end; ++j, factor += kRows) {
                const Vec<T> value = x[j];
                SOFTDIFF_UNROLL
                for (int k = 0; k < kRows; ++k) sum[k] += value * factor[k];
            }
            SOFTDIFF_UNROLL
            for (int k = 0; k < kRows; ++k) y[first + k] = sum[k] + (begin == 0 ? start : y[first + k]);
        }
    });
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

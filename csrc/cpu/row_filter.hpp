// C3 (gain . C2 x) of short rows, as a product with the dense matrix that this is (folded_rows.hpp): no row is turned.
//
// With T(m) = sum_k gain[k] cos(pi k m / N), which is even and has the period 2 N, the matrix is
//
//   A[i][j] = sum_k gain[k] cos(pi (2i+1) k / 2N) cos(pi (2j+1) k / 2N) = (T(i - j) + T(i + j + 1)) / 2,
//
// and the part of outputs i and N-1-i in their sum or difference is, with the even or the odd k alone in T,
//
//   (A[i][j] +- A[i][N-1-j]) / 2 = (T(i - j) + T(i + j + 1)) / 2.
#pragma once

#include "addends.hpp"
#include "dct_matrix.hpp"
#include "folded_rows.hpp"
#include "prefetch.hpp"
#include "scratch.hpp"
#include "storage.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
class RowFilter {
  public:
    static constexpr int L = kLanes<T>;
    static constexpr int kSide = 2 * L;  // numbers from one row of the input to the next: its first L, then its last L

    // Whether this is the faster way, by measurement: rows of one to two vectors of AVX-512. AVX2 has too few registers.
    static constexpr bool kUsed = kVectorBytes == 64;
    static constexpr bool fits(std::int64_t height, std::int64_t width) {
        return kUsed && height >= kMostRows && width > L && width <= kSide;
    }

    RowFilter(int size, Arena& arena) : n_(size), cosines_(half_cosines<T>(size, kSide)) {
        even_ = arena.take<T>((n_ + 1) / 2 * L);
        odd_ = arena.take<T>(n_ / 2 * L);
        sums_ = arena.take<T>(L + kSide);
        buffer_ = arena.take<T>(kMostRows * kSide);
    }

    // For gains in natural order, which plans of such lengths have; their weights in them.
    [[gnu::noinline]] void prepare(const T* gain) const {
        constexpr int kChains = 4;  // of additions, at once
        Vec<T> sum[kChains][2]{};
        const T* cosines = cosines_;
        const auto add = [&](int k, Vec<T>* to) SOFTDIFF_INLINE_LAMBDA {
            to[0] += gain[k] * load(cosines);
            to[1] += gain[k] * load(cosines + L);
            cosines += kSide;
        };
        int k = 0;
        for (; k + kChains <= n_; k += kChains) {
            SOFTDIFF_UNROLL
            for (int i = 0; i < kChains; ++i) add(k + i, sum[i]);
        }
        for (; k < n_; ++k) {
            if (k % 2 == 0) {
                add(k, sum[0]);
            } else {
                add(k, sum[1]);
            }
        }
        for (int v = 0; v < 2; ++v) {
            sum[0][v] += sum[2][v];
            sum[1][v] += sum[3][v];
        }
        spread(sum[0], (n_ + 1) / 2, even_);
        spread(sum[1], n_ / 2, odd_);
        if (n_ % 2 == 1)  // the middle meets itself in its sum
            for (int i = 0; i < L; ++i) even_[n_ / 2 * L + i] /= 2;
    }

    // `rows` rows, at least kMostRows, to an image with rows of n. While they are worked on, memory of what is `next` comes
    // into the cache, as much as the rows take, and what the image has in the rows ahead.
    template <int Count, class Storage>
    [[gnu::noinline]] void run(const T* x, int rows, const Addends<T>& addends, Storage* out, const char* next) const {
        constexpr int kMost = FoldedRows<T, 1>::kRows, kFewer = kMost - 1;
        const auto total = [&](int at_once) { return (rows + at_once - 1) / at_once * at_once; };
        if (total(kFewer) < total(kMost)) {
            run_by<kFewer, Count>(x, rows, addends, out, next);
        } else {
            run_by<kMost, Count>(x, rows, addends, out, next);
        }
    }

  private:
    const int n_;
    const T* cosines_;
    T *even_, *odd_, *sums_, *buffer_;

    // The factors of `count` inputs from T(0), T(1), ..
    SOFTDIFF_INLINE void spread(const Vec<T>* sum, int count, T* factors) const {
        T* zero = sums_ + L;
        store(zero - L + 1, reversed<T>(sum[0]));
        store(zero, sum[0]);
        store(zero + L, sum[1]);
#pragma GCC unroll 4
        for (int j = 0; j < count; ++j) store(factors + j * L, load(zero - j) + load(zero + j + 1));
    }

    template <int Rows, int Count, class Storage>
    SOFTDIFF_INLINE void run_by(const T* x, int rows, const Addends<T>& addends, Storage* out, const char* next) const {
        using Sums = FoldedRows<T, 1, Rows>;
        constexpr int kLines =
            (Rows * static_cast<int>(sizeof(Storage)) - 1) / (kCacheLine / 2) + 1;  // of all rows, for two numbers
        for (int first = 0; first < rows; first += Rows) {
            const int h = std::min(first, rows - Rows);  // the last rows again rather than fewer
            for (int r = 0; r < Rows; ++r) {
                const T* row = x + static_cast<std::ptrdiff_t>(h + r) * kSide;
                Sums::fold(row, row + kSide - n_, n_, buffer_ + r * kSide);
            }
            Storage* to = out + static_cast<std::ptrdiff_t>(h) * n_;
            const char* ahead = reinterpret_cast<const char*>(to + Rows * n_);
            const char* later = next + static_cast<std::ptrdiff_t>(h) * n_ * sizeof(Storage);
            Sums sums;
            sums.template sum_up<1, L>(buffer_, n_, even_, odd_, [&](int i) SOFTDIFF_INLINE_LAMBDA {
                SOFTDIFF_UNROLL
                for (int line = i * kLines; line < (i + 1) * kLines; ++line) {
                    fetch_line<FetchFor::kWrite>(ahead + line * kCacheLine);
                    fetch_line<FetchFor::kRead>(later + line * kCacheLine);
                }
            });
            SOFTDIFF_UNROLL
            for (int r = 0; r < Rows; ++r) {
                sums.unfold(r, n_, [&](int i, Vec<T> values) SOFTDIFF_INLINE_LAMBDA {
                    SOFTDIFF_UNROLL
                    for (int k = 0; k < Count; ++k)
                        values += addends.factor[k] * load(addends.image[k].data + (h + r) * addends.image[k].row_stride + i);
                    store_as(to + r * n_ + i, values);
                });
            }
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

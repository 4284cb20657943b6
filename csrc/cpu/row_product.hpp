// DCT-II or its inverse of many short rows, as a product with a dense matrix (dct_matrix.hpp). Lanes are outputs, of several
// rows where these are shorter than half a vector: no row is turned, which for short rows costs more than the sums that a fast
// algorithm saves. Rows longer than a vector are folded, so that half of the sums are left.
#pragma once

#include <algorithm>

#include "dct_matrix.hpp"
#include "folded_rows.hpp"
#include "parallel.hpp"
#include "staging.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
class RowProduct {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    // Whether this is the faster way, by measurement: up to four vectors where there are 32 registers, else up to two, and
    // where the fast algorithm has an odd length that is no product of short ones.
    static bool fits(std::int64_t width) {
        const bool awkward = width % 2 == 1 && width % 5 != 0;
        return width <= 2 * L || (width <= 4 * L && (kVectorBytes == 64 || awkward));
    }

    static void run(const TransformTask& task) {
        if (kPermutes && 2 * task.width <= L) return run_blocks<Several>(task, kUnits * (L / task.width));
        if (task.width <= L) return run_blocks<One>(task, One::kRows);
        if (task.width <= 2 * L) return run_blocks<Folded<1>>(task, Folded<1>::kRows);
        run_blocks<Folded<2>>(task, Folded<2>::kRows);
    }

  private:
    static constexpr bool kPermutes = kVectorBytes >= 32;  // vectors, at will
    static constexpr int kUnits = 4;                       // of them that are worked on at once
    using Index = std::conditional_t<sizeof(T) == sizeof(float), std::int32_t, std::int64_t>;

    const TransformTask& task_;
    const int width_;
    const DctMatrix<T>& matrix_;
    T *staged_, *result_;
    V* buffer_;  // the factors and places of Several, the rows of Folded

    RowProduct(const TransformTask& task, std::int64_t rows, Arena& arena)
        : task_(task), width_(static_cast<int>(task.width)), matrix_(dct_matrix<T>(task.width, L, task.inverse)) {
        staged_ = arena.take<T>(rows * width_ + L);
        result_ = arena.take<T>(rows * width_ + L);
        buffer_ = arena.take<V>(std::max(2 * width_, 4 * kMostRows));
    }

    // A Way is how `rows` rows at a time are multiplied; fewer are the last of a thread, and in copies with room for as many.
    template <class Way>
    static void run_blocks(const TransformTask& task, std::int64_t rows) {
        Arena needed(nullptr);
        RowProduct(task, rows, needed);
        for_each_range((task.height + rows - 1) / rows, task.height * task.width, task.threads, needed.used(),
                       [&](Arena& arena, std::int64_t first, std::int64_t last) {
                           const RowProduct kernel(task, rows, arena);
                           Way::prepare(kernel);
                           const std::int64_t end = std::min(task.height, last * rows);
                           for (std::int64_t row = first * rows; row < end; row += rows)
                               kernel.one_block<Way>(row, std::min(rows, end - row), end);
                       });
    }

    // Vectors that are read or written reach beyond the end of a row, into the next ones, which are written later. Beyond row
    // `end` are those of another thread: what reaches there, and what is no row of T, goes through copies.
    template <class Way>
    void one_block(std::int64_t first, std::int64_t rows, std::int64_t end) const {
        const std::int64_t row = task_.input.stride[2];
        const bool plain = stores<T>(task_.dtype) && (end - first - rows) * width_ >= L;
        const bool from_there = plain && task_.input.stride[3] == 1 && (row == width_ || !Way::kWholeVectors);
        if (!from_there) stage_rows(task_.dtype, task_.input, first, rows, width_, staged_);
        Way::multiply(*this, from_there ? static_cast<const T*>(task_.input.data) + first * row : staged_,
                      from_there ? row : width_, plain ? static_cast<T*>(task_.out) + first * width_ : result_);
        if (!plain) emit_run(task_.dtype, result_, task_.out, first * width_, rows * width_);
    }

    // Lines of what is read and written this much later, a few with every step of a sum (prefetch.hpp).
    struct Ahead {
        static constexpr std::ptrdiff_t kBytes = 2048;
        const char *in, *out;

        Ahead(const T* x, T* y) : in(reinterpret_cast<const char*>(x) + kBytes), out(reinterpret_cast<char*>(y) + kBytes) {}
        SOFTDIFF_INLINE void fetch_in(int line) const { fetch_line<FetchFor::kRead>(in + line * kCacheLine); }
        SOFTDIFF_INLINE void fetch_out(int line) const { fetch_line<FetchFor::kWrite>(out + line * kCacheLine); }
    };

    // As many whole rows as a vector holds: number i of each is permuted to its row's lanes.
    struct Several {
        static constexpr bool kWholeVectors = true;

        static void prepare(const RowProduct& kernel) {
            const int width = kernel.width_, numbers = L / width * width;
            for (int i = 0; i < width; ++i) {
                T factors[L]{};
                Index places[L]{};
                for (int lane = 0; lane < numbers; ++lane) {
                    factors[lane] = kernel.matrix_.plain[i * L + lane % width];
                    places[lane] = lane / width * width + i;
                }
                kernel.buffer_[2 * i] = load(factors);
                store(reinterpret_cast<Index*>(kernel.buffer_ + 2 * i + 1), load(places));
            }
        }

        static void multiply(const RowProduct& kernel, const T* x, std::int64_t, T* out) {
            const int width = kernel.width_, numbers = L / width * width;
            const Ahead ahead(x, out);
            V value[kUnits], sum[kUnits]{};
            SOFTDIFF_UNROLL
            for (int u = 0; u < kUnits; ++u) {
                value[u] = load(x + u * numbers);
                ahead.fetch_in(u);
                ahead.fetch_out(u);
            }
            for (int i = 0; i < width; ++i) {
                const V factor = kernel.buffer_[2 * i];
                const auto places = load(reinterpret_cast<const Index*>(kernel.buffer_ + 2 * i + 1));
                SOFTDIFF_UNROLL
                for (int u = 0; u < kUnits; ++u) sum[u] += permute(value[u], places) * factor;
            }
            SOFTDIFF_UNROLL
            for (int u = 0; u < kUnits; ++u) store(out + u * numbers, sum[u]);
        }
    };

    // A vector for the outputs of a row.
    struct One {
        static constexpr bool kWholeVectors = false;
        static constexpr int kRows = kMostRows;
        static constexpr int kLines = kRows * static_cast<int>(sizeof(T)) / (kCacheLine / 2);  // of all rows, for two numbers

        static void prepare(const RowProduct&) {}

        static void multiply(const RowProduct& kernel, const T* x, std::int64_t row, T* out) {
            const T* from[kRows];
            SOFTDIFF_UNROLL
            for (int r = 0; r < kRows; ++r) from[r] = x + r * row;
            const Ahead ahead(x, out);
            V sum[kRows]{};
            for (int i = 0; i < kernel.width_; ++i) {
                const V factor = load(kernel.matrix_.plain + i * L);
                for (int line = 0; line < kLines; ++line) {  // half a row's share in lines of both
                    if (i % 2 == 0) {
                        ahead.fetch_in(i / 2 * kLines + line);
                    } else {
                        ahead.fetch_out(i / 2 * kLines + line);
                    }
                }
                SOFTDIFF_UNROLL
                for (int r = 0; r < kRows; ++r) sum[r] += from[r][i] * factor;
            }
            SOFTDIFF_UNROLL
            for (int r = 0; r < kRows; ++r) store(out + r * kernel.width_, sum[r]);
        }
    };

    // Even and odd outputs, or either end of a row.
    template <int Half>
    struct Folded {
        using Sums = FoldedRows<T, Half>;
        static constexpr bool kWholeVectors = false;
        static constexpr int kRows = Sums::kRows;
        static constexpr int kSide = Sums::kSide;
        static constexpr int kLines = (kRows * static_cast<int>(sizeof(T)) - 1) / (kCacheLine / 2) + 1;  // as above

        static void prepare(const RowProduct&) {}

        static void multiply(const RowProduct& kernel, const T* x, std::int64_t row, T* out) {
            const int n = kernel.width_;
            const bool inverse = kernel.task_.inverse;
            T* buffer = reinterpret_cast<T*>(kernel.buffer_);
            for (int r = 0; r < kRows; ++r) {
                const T* from = x + r * row;
                T* to = buffer + r * kSide;
                if (inverse) {
                    copy(from, n, to);
                } else {
                    Sums::fold(from, from, n, to);
                    if (n % 2 == 1) to[n / 2] = from[n / 2];
                }
            }
            Sums sums;
            const Ahead ahead(x, out);
            const auto fetch = [&](int i) SOFTDIFF_INLINE_LAMBDA {
                for (int line = 0; line < kLines; ++line) {
                    ahead.fetch_in(i * kLines + line);
                    ahead.fetch_out(i * kLines + line);
                }
            };
            if (inverse) {
                sums.template sum_up<2, 1>(buffer, n, kernel.matrix_.even, kernel.matrix_.odd, fetch);
            } else {
                sums.template sum_up<1, Half * L>(buffer, n, kernel.matrix_.even, kernel.matrix_.odd, fetch);
            }
            SOFTDIFF_UNROLL
            for (int r = 0; r < kRows; ++r) {
                T* to = out + r * n;
                if (inverse) {
                    sums.unfold(r, n, [&](int i, V values) SOFTDIFF_INLINE_LAMBDA { store(to + i, values); });
                } else {
                    interleave(sums.even[r], sums.odd[r], n, to);
                }
            }
        }

        static SOFTDIFF_INLINE void copy(const T* x, int n, T* to) {
            for (int i = 0; i + L < n; i += L) store(to + i, load(x + i));
            store(to + n - L, load(x + n - L));
        }

        static SOFTDIFF_INLINE void interleave(const V* even, const V* odd, int n, T* out) {
            SOFTDIFF_UNROLL
            for (int v = 0; v < Half; ++v) {
                const auto lanes = std::make_integer_sequence<int, L>{};
                store(out + 2 * v * L, interleaved<0>(even[v], odd[v], lanes));
                if ((2 * v + 1) * L < n) store(out + (2 * v + 1) * L, interleaved<L / 2>(even[v], odd[v], lanes));
            }
        }

        template <int First, int... I>
        static SOFTDIFF_INLINE V interleaved(V a, V b, std::integer_sequence<int, I...>) {
            return __builtin_shufflevector(a, b, (First + I / 2 + I % 2 * L)...);
        }
    };
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// DCT-II or its inverse of many short rows, as a product with a dense matrix (dct_matrix.hpp). Lanes are outputs, of several
// rows where these are shorter than half a vector: no row is turned, which for short rows costs more than the sums that a fast
// algorithm saves. Rows longer than a vector are folded, so that half of the sums are left.
#pragma once

#include <algorithm>

#include "dct_matrix.hpp"
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
    static constexpr bool kPermutes = kVectorBytes >= 32;       // vectors, at will
    static constexpr int kUnits = 4;                            // of them that are worked on at once
    static constexpr int kSums = kVectorBytes == 64 ? 24 : 12;  // registers for sums, which leaves some for factors
    static constexpr int kMostRows = 8;
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

    // `Half` vectors for the even and as many for the odd outputs of a row, or for either end of it.
    template <int Half>
    struct Folded {
        static constexpr bool kWholeVectors = false;
        static constexpr int kRows = std::min(kMostRows, kSums / (2 * Half));
        static constexpr int kSide = 2 * Half * L;  // numbers of a row in the buffer
        static constexpr int kLines = (kRows * static_cast<int>(sizeof(T)) - 1) / (kCacheLine / 2) + 1;  // as above

        static void prepare(const RowProduct&) {}

        static void multiply(const RowProduct& kernel, const T* x, std::int64_t row, T* out) {
            const int n = kernel.width_;
            T* buffer = reinterpret_cast<T*>(kernel.buffer_);
            V even[kRows][Half]{}, odd[kRows][Half]{};
            for (int r = 0; r < kRows; ++r) {
                const T* from = x + r * row;
                if (kernel.task_.inverse) {
                    copy(from, n, buffer + r * kSide);
                } else {
                    fold(from, n, buffer + r * kSide);
                }
            }
            if (kernel.task_.inverse) {
                sum_up<2, 1>(kernel, buffer, even, odd, Ahead(x, out));
            } else {
                sum_up<1, Half * L>(kernel, buffer, even, odd, Ahead(x, out));
            }
            SOFTDIFF_UNROLL
            for (int r = 0; r < kRows; ++r) {
                if (kernel.task_.inverse) {
                    unfold(even[r], odd[r], n, out + r * n);
                } else {
                    interleave(even[r], odd[r], n, out + r * n);
                }
            }
        }

        // The vectors of a row or of half of one: the last ends where it does.
        static int offset(int vector, int end) { return vector == 0 ? 0 : end - L; }

        // Sums x[i] + x[n-1-i], and from Half L on the differences.
        static SOFTDIFF_INLINE void fold(const T* x, int n, T* to) {
            SOFTDIFF_UNROLL
            for (int v = 0; v < Half; ++v) {
                const int i = offset(v, n / 2);
                const V a = load(x + i), b = reversed(load(x + n - L - i));
                store(to + i, a + b);
                store(to + Half * L + i, a - b);
            }
            if (n % 2 == 1) to[n / 2] = x[n / 2];
        }
        static SOFTDIFF_INLINE void copy(const T* x, int n, T* to) {
            for (int i = 0; i + L < n; i += L) store(to + i, load(x + i));
            store(to + n - L, load(x + n - L));
        }

        // Number i of an even half is at Step i of a row in the buffer, of an odd one at Step i + Odd.
        template <int Step, int Odd>
        static SOFTDIFF_INLINE void sum_up(const RowProduct& kernel, const T* buffer, V (*even)[Half], V (*odd)[Half],
                                           Ahead ahead) {
            const T *even_factors = kernel.matrix_.even, *odd_factors = kernel.matrix_.odd;
            for (int i = 0; i < kernel.width_ / 2; ++i, even_factors += Half * L, odd_factors += Half * L) {
                add<Step>(even_factors, buffer, i, even);
                add<Step>(odd_factors, buffer + Odd, i, odd);
                for (int line = 0; line < kLines; ++line) {
                    ahead.fetch_in(i * kLines + line);
                    ahead.fetch_out(i * kLines + line);
                }
            }
            if (kernel.width_ % 2 == 1) add<Step>(even_factors, buffer, kernel.width_ / 2, even);
        }
        template <int Step>
        static SOFTDIFF_INLINE void add(const T* factors, const T* buffer, int i, V (*sum)[Half]) {
            V factor[Half];
            SOFTDIFF_UNROLL
            for (int v = 0; v < Half; ++v) factor[v] = load(factors + v * L);
            SOFTDIFF_UNROLL
            for (int r = 0; r < kRows; ++r) {
                const T value = buffer[r * kSide + Step * i];
                SOFTDIFF_UNROLL
                for (int v = 0; v < Half; ++v) sum[r][v] += value * factor[v];
            }
        }

        static SOFTDIFF_INLINE void interleave(const V* even, const V* odd, int n, T* out) {
            SOFTDIFF_UNROLL
            for (int v = 0; v < Half; ++v) {
                const auto lanes = std::make_integer_sequence<int, L>{};
                store(out + 2 * v * L, interleaved<0>(even[v], odd[v], lanes));
                if ((2 * v + 1) * L < n) store(out + (2 * v + 1) * L, interleaved<L / 2>(even[v], odd[v], lanes));
            }
        }
        static SOFTDIFF_INLINE void unfold(const V* even, const V* odd, int n, T* out) {
            SOFTDIFF_UNROLL
            for (int v = 0; v < Half; ++v) {
                const int i = offset(v, (n + 1) / 2);
                store(out + i, even[v] + odd[v]);
                store(out + n - L - i, reversed(even[v] - odd[v]));
            }
        }

        template <int First, int... I>
        static SOFTDIFF_INLINE V interleaved(V a, V b, std::integer_sequence<int, I...>) {
            return __builtin_shufflevector(a, b, (First + I / 2 + I % 2 * L)...);
        }
        static SOFTDIFF_INLINE V reversed(V v) { return reversed(v, std::make_integer_sequence<int, L>{}); }
        template <int... I>
        static SOFTDIFF_INLINE V reversed(V v, std::integer_sequence<int, I...>) {
            return __builtin_shufflevector(v, v, (L - 1 - I)...);
        }
    };
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

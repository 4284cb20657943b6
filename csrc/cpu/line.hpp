// One-dimensional transforms of kLanes lines at once, for any length, by a LinePlan: split -> leaves -> butterflies, and the
// transposed graph back. Outputs stay in the plan's frequency order: gains are permuted instead, once per sample.
#pragma once

#include "../core/codelets.hpp"
#include "../core/radix.hpp"
#include "odd.hpp"
#include "plan.hpp"
#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// A leaf reads values `stride` elements of T apart (a column of an image, or a buffer of vectors) and writes a buffer, or back.
template <class T>
struct Leaf {
    void (*dct2)(const T* x, std::ptrdiff_t stride, Vec<T>* y);
    void (*dct3)(const Vec<T>* x, T* y, std::ptrdiff_t stride);
    void (*dct4)(const Vec<T>* x, Vec<T>* y);
    // x <- C3 (row_gain column_gain[k] C2 x): the whole middle stage of a short line in one function
    void (*filter)(Vec<T>* x, Vec<T> row_gain, const T* column_gain);
};

template <class T, int N>
struct CodeletLeaf {
    using V = Vec<T>;
    using Code = Codelet<V, T, N>;

    static void dct2(const T* x, std::ptrdiff_t stride, V* __restrict y) {
        V in[N], out[N];
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) in[i] = load(x + i * stride);
        Code::dct2(in, out);
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) y[i] = out[i];
    }
    static void dct3(const V* x, T* __restrict y, std::ptrdiff_t stride) {
        V in[N], out[N];
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) in[i] = x[i];
        Code::dct3(in, out);
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) store(y + i * stride, out[i]);
    }
    static void dct4(const V* x, V* __restrict y) {
        V in[N], out[N];
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) in[i] = x[i];
        Code::dct4(in, out);
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) y[i] = out[i];
    }
    static void filter(V* __restrict x, V row_gain, const T* __restrict column_gain) {
        V middle[N];
        {
            V in[N], out[N];
            SOFTDIFF_UNROLL
            for (int i = 0; i < N; ++i) in[i] = x[i];
            Code::dct2(in, out);
            SOFTDIFF_UNROLL
            for (int i = 0; i < N; ++i) middle[i] = out[i] * (row_gain * column_gain[i]);
        }
        // Keeps the compiler from mixing the two transforms: more live values than registers.
        asm volatile("" : : "r"(middle) : "memory");
        V in[N], out[N];
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) in[i] = middle[i];
        Code::dct3(in, out);
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) x[i] = out[i];
    }
};

template <class T, int N>
constexpr Leaf<T> make_leaf() {
    if constexpr (has_codelet(N)) {
        using L = CodeletLeaf<T, N>;
        return {L::dct2, L::dct3, L::dct4, L::filter};
    } else {
        return {nullptr, nullptr, nullptr, nullptr};
    }
}

template <class T, int... N>
inline const Leaf<T>& find_leaf(int n, std::integer_sequence<int, N...>) {
    static constexpr Leaf<T> table[] = {make_leaf<T, N>()...};
    return table[n];
}
template <class T>
inline const Leaf<T>& find_leaf(int n) {
    return find_leaf<T>(n, std::make_integer_sequence<int, kMaxLeaf + 1>{});
}

// Scratch that a Line of the plan needs, in vectors.
template <class T>
inline std::int64_t line_scratch(const LinePlan<T>& plan) {
    return plan.size + (plan.codelet ? 0 : odd_scratch(*plan.odd));
}

template <class T>
class Line {
  public:
    using V = Vec<T>;

    explicit Line(std::int64_t size) : plan(line_plan<T>(size)), leaf_(plan.codelet ? find_leaf<T>(plan.leaf) : Leaf<T>{}) {}

    const LinePlan<T>& plan;

    bool has_filter() const { return plan.radix == 1 && plan.codelet; }

    // Vectors at x, x + stride, ... to C2 of them in y, in the plan's order. x is left alone and may not overlap y.
    void forward(const T* x, std::ptrdiff_t stride, V* y, V* scratch) const {
        if (plan.radix == 1) {
            leaf_dct2(x, stride, y, scratch);
            return;
        }
        split(x, stride, scratch);
        for (int slot = 0; slot < plan.radix; ++slot) {
            const V* in = scratch + slot * plan.leaf;
            V* out = y + slot * plan.leaf;
            if (slot_is_dct4(false, plan.radix, slot)) {
                leaf_dct4(in, out, scratch + plan.size);
            } else {
                leaf_dct2(reinterpret_cast<const T*>(in), kLanes<T>, out, scratch + plan.size);
            }
        }
        for (int i = 0; i < plan.butterflies; ++i) butterfly(y, i);
    }

    // C3 of y, given in the plan's order, to x, x + stride, ...; y is overwritten where the plan has butterflies.
    void inverse(V* y, T* x, std::ptrdiff_t stride, V* scratch) const {
        if (plan.radix == 1) {
            leaf_dct3(y, x, stride, scratch);
            return;
        }
        for (int i = plan.butterflies - 1; i >= 0; --i) butterfly(y, i);
        for (int slot = 0; slot < plan.radix; ++slot) {
            const V* in = y + slot * plan.leaf;
            V* out = scratch + slot * plan.leaf;
            if (slot_is_dct4(false, plan.radix, slot)) {
                leaf_dct4(in, out, scratch + plan.size);
            } else {
                leaf_dct3(in, reinterpret_cast<T*>(out), kLanes<T>, scratch + plan.size);
            }
        }
        join(scratch, x, stride);
    }

    // x <- C3 (row_gain column_gain C2 x) on a buffer of vectors.
    void filter(V* x, V row_gain, const T* column_gain) const { leaf_.filter(x, row_gain, column_gain); }

  private:
    Leaf<T> leaf_;

    void butterfly(V* y, int i) const {
        V& a = y[plan.butterfly[2 * i]];
        V& b = y[plan.butterfly[2 * i + 1]];
        const V sum = a + b;
        b = a - b;
        a = sum;
    }

    template <int R>
    void split_by(const T* x, std::ptrdiff_t stride, V* slots) const {
        constexpr int kFactors = rotation_count(false, R) * kFactorsPerRotation;
        for (int i = 0; i < plan.leaf; ++i) {
            V v[R];
            SOFTDIFF_UNROLL
            for (int j = 0; j < R; ++j) v[j] = load(x + fold_position(j, i, plan.leaf) * stride);
            Radix<false, R>::split(v, plan.factors + i * kFactors);
            SOFTDIFF_UNROLL
            for (int j = 0; j < R; ++j) slots[j * plan.leaf + i] = v[j];
        }
    }

    template <int R>
    void join_by(const V* slots, T* x, std::ptrdiff_t stride) const {
        constexpr int kFactors = rotation_count(false, R) * kFactorsPerRotation;
        for (int i = 0; i < plan.leaf; ++i) {
            V v[R];
            SOFTDIFF_UNROLL
            for (int j = 0; j < R; ++j) v[j] = slots[j * plan.leaf + i];
            Radix<false, R>::join(v, plan.factors + i * kFactors);
            SOFTDIFF_UNROLL
            for (int j = 0; j < R; ++j) store(x + fold_position(j, i, plan.leaf) * stride, v[j]);
        }
    }

    void split(const T* x, std::ptrdiff_t stride, V* slots) const {
        switch (plan.radix) {
            case 2: return split_by<2>(x, stride, slots);
            case 4: return split_by<4>(x, stride, slots);
            case 8: return split_by<8>(x, stride, slots);
            case 16: return split_by<16>(x, stride, slots);
            default: return split_by<kMaxRadix>(x, stride, slots);
        }
    }

    void join(const V* slots, T* x, std::ptrdiff_t stride) const {
        switch (plan.radix) {
            case 2: return join_by<2>(slots, x, stride);
            case 4: return join_by<4>(slots, x, stride);
            case 8: return join_by<8>(slots, x, stride);
            case 16: return join_by<16>(slots, x, stride);
            default: return join_by<kMaxRadix>(slots, x, stride);
        }
    }

    void leaf_dct2(const T* x, std::ptrdiff_t stride, V* y, V* scratch) const {
        if (plan.codelet) return leaf_.dct2(x, stride, y);
        odd_dct2(*plan.odd, x, stride, y, scratch);
    }

    void leaf_dct3(const V* x, T* y, std::ptrdiff_t stride, V* scratch) const {
        if (plan.codelet) return leaf_.dct3(x, y, stride);
        odd_dct3(*plan.odd, x, y, stride, scratch);
    }

    void leaf_dct4(const V* x, V* y, V* scratch) const {
        if (plan.codelet) return leaf_.dct4(x, y);
        odd_dct4(*plan.odd, x, y, scratch);
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

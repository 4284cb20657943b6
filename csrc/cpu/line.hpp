// One-dimensional transforms of kLanes lines at once, for any length, by a LinePlan: split -> leaves -> butterflies, and the
// transposed graph back. Outputs stay in the plan's frequency order: gains are permuted instead, once per sample.
#pragma once

#include "../core/radix.hpp"
#include "even_leaf.hpp"
#include "plan.hpp"
#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Scratch that a Line of the plan needs, in vectors.
template <class T>
inline std::int64_t line_scratch(const LinePlan<T>& plan) {
    return plan.size + (plan.codelet ? 0 : long_scratch(*plan.odd));
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
        long_dct2(*plan.odd, x, stride, y, scratch);
    }

    void leaf_dct3(const V* x, T* y, std::ptrdiff_t stride, V* scratch) const {
        if (plan.codelet) return leaf_.dct3(x, y, stride);
        long_dct3(*plan.odd, x, y, stride, scratch);
    }

    void leaf_dct4(const V* x, V* y, V* scratch) const {
        if (plan.codelet) return leaf_.dct4(x, y);
        long_dct4(*plan.odd, x, y, scratch);
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

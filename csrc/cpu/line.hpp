// One-dimensional transforms of kLanes lines at once, for any length, by a LinePlan: split -> leaves -> butterflies, and the
// transposed graph back. Outputs stay in the plan's frequency order: gains are permuted instead, once per sample.
#pragma once

#include "../core/radix.hpp"
#include "even_leaf.hpp"
#include "mix.hpp"
#include "plan.hpp"
#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr int kMaxTerms = 3;  // lines that Line::combine adds up

// Scratch that a Line of the plan needs, in vectors.
template <class T>
inline std::int64_t line_scratch(const LinePlan<T>& plan) {
    const std::int64_t lines = (kMaxTerms + 1) * static_cast<std::int64_t>(plan.size);
    return lines + 2 * kMaxTerms * static_cast<std::int64_t>(plan.leaf) + (plan.codelet ? 0 : long_scratch(*plan.odd));
}

template <class T>
class Line {
  public:
    using V = Vec<T>;

    explicit Line(std::int64_t size) : plan(line_plan<T>(size)), leaf_(plan.codelet ? find_leaf<T>(plan.leaf) : Leaf<T>{}) {}

    const LinePlan<T>& plan;

    // Vectors at x, x + stride, ... to C2 of them in y, in the plan's order. x is left alone and may not overlap y.
    void forward(const T* x, std::ptrdiff_t stride, V* y, V* scratch) const {
        if (plan.radix == 1) return leaf_dct2(x, stride, y, scratch);
        const Strided<const T> in[] = {{x, stride}};
        forward(in, y, 0, scratch);
    }

    // The same for views of `Lines` neighbouring vectors at each place, to y, y + y_stride, ..: memory is read in longer runs.
    // For plans that split.
    template <int Lines, class In>
    void forward(const In (&in)[Lines], V* y, std::ptrdiff_t y_stride, V* scratch) const {
        split(in, scratch);
        V* rest = scratch + static_cast<std::ptrdiff_t>(Lines) * plan.size;
        for (int line = 0; line < Lines; ++line) {
            V* outputs = y + line * y_stride;
            for (int slot = 0; slot < plan.radix; ++slot)
                leaf_forward(slot, scratch + line * plan.size + slot * plan.leaf, outputs + slot * plan.leaf, rest);
            for (int i = 0; i < plan.butterflies; ++i) butterfly(outputs, i);
        }
    }

    // C3 of y, given in the plan's order, to x, x + stride, ...; y is overwritten where the plan has butterflies.
    void inverse(V* y, T* x, std::ptrdiff_t stride, V* scratch) const {
        if (plan.radix == 1) return leaf_dct3(y, x, stride, scratch);
        const Strided<T> out[] = {{x, stride}};
        inverse(y, 0, out, scratch);
    }

    // C3 of y, y + y_stride, .. to as many views.
    template <int Lines, class Out>
    void inverse(V* y, std::ptrdiff_t y_stride, const Out (&out)[Lines], V* scratch) const {
        V* rest = scratch + static_cast<std::ptrdiff_t>(Lines) * plan.size;
        for (int line = 0; line < Lines; ++line) {
            V *inputs = y + line * y_stride, *slots = scratch + line * plan.size;
            if (plan.radix == 1) {
                leaf_dct3(inputs, reinterpret_cast<T*>(slots), kLanes<T>, rest);
                continue;
            }
            for (int i = plan.butterflies - 1; i >= 0; --i) butterfly(inputs, i);
            for (int slot = 0; slot < plan.radix; ++slot)
                leaf_inverse(slot, inputs + slot * plan.leaf, slots + slot * plan.leaf, rest);
        }
        join(scratch, out);
    }

    // C3 (gain . C2 x) with x and y as in `forward` and `inverse`; they may be the same.
    void filter(const T* x, std::ptrdiff_t x_stride, const T* gain, T* y, std::ptrdiff_t y_stride, V* scratch) const {
        if (plan.radix > 1) {
            const Strided<const T> in[] = {{x, x_stride}};
            const Strided<T> out[] = {{y, y_stride}};
            return filter(in, gain, out, scratch);
        }
        V* rest = scratch + plan.size;
        leaf_dct2(x, x_stride, scratch, rest);
        for (int k = 0; k < plan.size; ++k) scratch[k] *= gain[k];
        leaf_dct3(scratch, y, y_stride, rest);
    }

    // The same of views, to as many. For plans that split.
    template <int Lines, class In, class Out>
    void filter(const In (&in)[Lines], const T* gain, const Out (&out)[Lines], V* scratch) const {
        split(in, scratch);
        V* rest = scratch + static_cast<std::ptrdiff_t>(Lines) * plan.size;
        for (int line = 0; line < Lines; ++line)
            filter_slots(scratch + static_cast<std::ptrdiff_t>(line) * plan.size, gain, rest);
        join(scratch, out);
    }

    // line[0] <- C3 mix(C2 line[0], C2 line[1], ...) on buffers of vectors; mix(k, values) makes output k of the plan's order
    // from the `Terms` values there. From the leaves of one pair of slots to the leaves back, all stays in a few kilobytes.
    template <int Terms, class Mix>
    void combine(V* const* line, V* scratch, Mix mix) const {
        const std::int64_t n = plan.leaf;
        if (plan.pairs == 0) return combine_whole<Terms>(line, scratch, mix);
        V* slots[Terms];
        for (int i = 0; i < Terms; ++i) {
            slots[i] = plan.radix == 1 ? line[i] : scratch + static_cast<std::int64_t>(i) * plan.size;
            const Values<const V> in[] = {{line[i]}};
            if (plan.radix > 1) split(in, slots[i]);
        }
        V* buffers = scratch + static_cast<std::int64_t>(Terms) * plan.size;
        V* leaf_scratch = buffers + 2 * Terms * n;
        for (int p = 0; p < plan.pairs; ++p) {
            const SlotPair pair = plan.pair[p];
            if constexpr (std::is_same_v<Mix, SeparableMix<T>>) {
                if (pair.second < 0 && plan.codelet && !slot_is_dct4(false, plan.radix, pair.first)) {
                    leaf_.filter(slots[0] + pair.first * n, mix.row, mix.column + pair.first * n);
                    continue;
                }
            }
            V *a[Terms], *b[Terms];
            for (int i = 0; i < Terms; ++i) {
                a[i] = buffers + 2 * i * n;
                b[i] = a[i] + n;
                leaf_forward(pair.first, slots[i] + pair.first * n, a[i], leaf_scratch);
                if (pair.second >= 0) leaf_forward(pair.second, slots[i] + pair.second * n, b[i], leaf_scratch);
            }
            mix_pair<Terms>(pair, a, b, mix);
            leaf_inverse(pair.first, a[0], slots[0] + pair.first * n, leaf_scratch);
            if (pair.second >= 0) leaf_inverse(pair.second, b[0], slots[0] + pair.second * n, leaf_scratch);
        }
        const Values<V> out[] = {{line[0]}};
        if (plan.radix > 1) join(slots[0], out);
    }

  private:
    Leaf<T> leaf_;

    // The outputs of two slots, or of one, through their butterflies, mix, and the butterflies back; to a[0] and b[0].
    template <int Terms, class Mix>
    SOFTDIFF_INLINE void mix_pair(SlotPair pair, V* const* a, V* const* b, Mix mix) const {
        const int n = plan.leaf, first = pair.first * n, second = pair.second * n;
        V u[Terms], v[Terms];
        const auto mix_one = [&](V* const* buffer, int slot, int k) {
            for (int i = 0; i < Terms; ++i) u[i] = buffer[i][k];
            buffer[0][k] = mix(slot + k, u);
        };
        if (pair.second < 0) {
            for (int k = 0; k < n; ++k) mix_one(a, first, k);
            return;
        }
        if (pair.mirror == n) {
            mix_one(a, first, 0);
            mix_one(b, second, 0);
        }
        for (int k = pair.mirror == n ? 1 : 0; k < n; ++k) {
            const int mirrored = pair.mirror - k;
            for (int i = 0; i < Terms; ++i) {
                u[i] = a[i][k] + b[i][mirrored];
                v[i] = a[i][k] - b[i][mirrored];
            }
            const V sum = mix(first + k, u), difference = mix(second + mirrored, v);
            a[0][k] = sum + difference;
            b[0][mirrored] = sum - difference;
        }
    }

    // The middle of `filter`, on the slots of one line.
    void filter_slots(V* slots, const T* gain, V* scratch) const {
        const int n = plan.leaf;
        V *a = scratch, *b = a + n;
        if (plan.pairs == 0) {
            V* rest = scratch + plan.size;
            for (int slot = 0; slot < plan.radix; ++slot) leaf_forward(slot, slots + slot * n, a + slot * n, rest);
            for (int i = 0; i < plan.butterflies; ++i) butterfly(a, i);
            for (int k = 0; k < plan.size; ++k) a[k] *= gain[k];
            for (int i = plan.butterflies - 1; i >= 0; --i) butterfly(a, i);
            for (int slot = 0; slot < plan.radix; ++slot) leaf_inverse(slot, a + slot * n, slots + slot * n, rest);
            return;
        }
        V* rest = b + n;
        for (int p = 0; p < plan.pairs; ++p) {
            const SlotPair pair = plan.pair[p];
            V *first = slots + pair.first * n, *second = slots + pair.second * n;
            leaf_forward(pair.first, first, a, rest);
            if (pair.second >= 0) leaf_forward(pair.second, second, b, rest);
            mix_pair<1>(pair, &a, &b, ColumnMix<T>{gain});
            leaf_inverse(pair.first, a, first, rest);
            if (pair.second >= 0) leaf_inverse(pair.second, b, second, rest);
        }
    }

    // The same as `combine` where butterflies build on butterflies.
    template <int Terms, class Mix>
    void combine_whole(V* const* line, V* scratch, Mix mix) const {
        V* spectrum[Terms];
        V* rest = scratch + static_cast<std::int64_t>(Terms) * plan.size;
        for (int i = 0; i < Terms; ++i) {
            spectrum[i] = scratch + static_cast<std::int64_t>(i) * plan.size;
            forward(reinterpret_cast<const T*>(line[i]), kLanes<T>, spectrum[i], rest);
        }
        for (int k = 0; k < plan.size; ++k) {
            V values[Terms];
            for (int i = 0; i < Terms; ++i) values[i] = spectrum[i][k];
            spectrum[0][k] = mix(k, values);
        }
        inverse(spectrum[0], reinterpret_cast<T*>(line[0]), kLanes<T>, rest);
    }

    // C2 or C4 of one slot, as the recursion wants it, and back.
    void leaf_forward(int slot, const V* x, V* y, V* scratch) const {
        if (slot_is_dct4(false, plan.radix, slot)) return leaf_dct4(x, y, scratch);
        if (plan.codelet) return leaf_.buffer_dct2(x, y);
        leaf_dct2(reinterpret_cast<const T*>(x), kLanes<T>, y, scratch);
    }
    void leaf_inverse(int slot, const V* x, V* y, V* scratch) const {
        if (slot_is_dct4(false, plan.radix, slot)) return leaf_dct4(x, y, scratch);
        if (plan.codelet) return leaf_.buffer_dct3(x, y);
        leaf_dct3(x, reinterpret_cast<T*>(y), kLanes<T>, scratch);
    }

    void butterfly(V* y, int i) const {
        V& a = y[plan.butterfly[2 * i]];
        V& b = y[plan.butterfly[2 * i + 1]];
        const V sum = a + b;
        b = a - b;
        a = sum;
    }

    template <int R, int Lines, class In>
    void split_by(const In (&in)[Lines], V* slots) const {
        constexpr int kFactors = rotation_count(false, R) * kFactorsPerRotation;
        for (int i = 0; i < plan.leaf; ++i) {
            for (int line = 0; line < Lines; ++line) {
                V v[R];
                SOFTDIFF_UNROLL
                for (int j = 0; j < R; ++j) v[j] = in[line][fold_position(j, i, plan.leaf)];
                Radix<false, R>::split(v, plan.factors + i * kFactors);
                SOFTDIFF_UNROLL
                for (int j = 0; j < R; ++j) slots[line * plan.size + j * plan.leaf + i] = v[j];
            }
        }
    }

    template <int R, int Lines, class Out>
    void join_by(const V* slots, const Out (&out)[Lines]) const {
        constexpr int kFactors = rotation_count(false, R) * kFactorsPerRotation;
        for (int i = 0; i < plan.leaf; ++i) {
            for (int line = 0; line < Lines; ++line) {
                V v[R];
                SOFTDIFF_UNROLL
                for (int j = 0; j < R; ++j) v[j] = slots[line * plan.size + j * plan.leaf + i];
                if constexpr (R > 1) Radix<false, R>::join(v, plan.factors + i * kFactors);
                SOFTDIFF_UNROLL
                for (int j = 0; j < R; ++j) out[line].put(fold_position(j, i, plan.leaf), v[j]);
            }
        }
    }

    template <int Lines, class In>
    void split(const In (&in)[Lines], V* slots) const {
        switch (plan.radix) {
            case 2: return split_by<2>(in, slots);
            case 4: return split_by<4>(in, slots);
            case 8: return split_by<8>(in, slots);
            case 16: return split_by<16>(in, slots);
            default: return split_by<kMaxRadix>(in, slots);
        }
    }

    template <int Lines, class Out>
    void join(const V* slots, const Out (&out)[Lines]) const {
        switch (plan.radix) {
            case 1: return join_by<1>(slots, out);
            case 2: return join_by<2>(slots, out);
            case 4: return join_by<4>(slots, out);
            case 8: return join_by<8>(slots, out);
            case 16: return join_by<16>(slots, out);
            default: return join_by<kMaxRadix>(slots, out);
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

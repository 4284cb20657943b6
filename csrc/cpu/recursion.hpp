// What the recursion of core/radix.hpp needs to know about a line: the rotations of its levels and where its outputs end up.
// Host code that builds tables, for the CPU's plans and for CUDA's.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/radix.hpp"
#include "angle.hpp"

namespace softdiff {

// Appends the rotations that Radix<dct4_node, slots>::split does at position i of slots of length `leaf`, in its order.
inline void append_rotations(bool dct4_node, int slots, int leaf, int i, std::vector<double>& factors) {
    if (slots == 1) return;
    const int length = slots * leaf, half = slots / 2;
    if (dct4_node) {
        for (int j = 0; j < half; ++j) {
            const int k = fold_position(j, i, leaf);
            const double c = cosine(2 * k + 1, 4LL * length), s = cosine(2LL * length - (2 * k + 1), 4LL * length);
            const double sign = k % 2 == 0 ? 1.0 : -1.0;
            for (const double factor : {c, s, sign * s, -sign * c}) factors.push_back(factor);
        }
    }
    append_rotations(false, half, leaf, i, factors);
    append_rotations(!dct4_node, half, leaf, i, factors);
}

// Where each output of a node is once its leaves are done (output k of slot j at j leaf + k) and its butterflies, appended as
// pairs of places, are carried out in order.
inline std::vector<std::int32_t> recursion_outputs(bool dct4_node, int slots, int leaf, int first_slot,
                                                   std::vector<std::int32_t>& butterfly) {
    const int length = slots * leaf, half = length / 2;
    std::vector<std::int32_t> at(length);
    if (slots == 1) {
        for (int k = 0; k < leaf; ++k) at[k] = first_slot * leaf + k;
        return at;
    }
    const auto low = recursion_outputs(false, slots / 2, leaf, first_slot, butterfly);
    const auto high = recursion_outputs(!dct4_node, slots / 2, leaf, first_slot + slots / 2, butterfly);
    if (!dct4_node) {
        for (int k = 0; k < half; ++k) {
            at[2 * k] = low[k];
            at[2 * k + 1] = high[k];
        }
        return at;
    }
    at[0] = low[0];
    at[length - 1] = high[0];
    for (int k = 1; k < half; ++k) {
        at[2 * k - 1] = low[k];
        at[2 * k] = high[half - k];
        butterfly.push_back(low[k]);
        butterfly.push_back(high[half - k]);
    }
    return at;
}

}  // namespace softdiff

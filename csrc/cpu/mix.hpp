// What happens to a line's frequencies between the transform and its inverse: each of these, called with the place of an output
// in the plan's order and the values of all terms there (lanes are rows), gives the value that goes back.
#pragma once

#include <cstdint>

#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// The same for all lanes, whatever these are.
template <class T>
struct ColumnMix {
    const T* gain;
    SOFTDIFF_INLINE Vec<T> operator()(int k, const Vec<T>* value) const { return value[0] * gain[k]; }
};

template <class T>
struct SeparableMix {
    Vec<T> row;
    const T* column;
    SOFTDIFF_INLINE Vec<T> operator()(int k, const Vec<T>* value) const { return value[0] * (row * column[k]); }
};

template <class T>
struct FlooredMix {
    Vec<T> row, flat_row;
    const T *column, *flat_column;
    SOFTDIFF_INLINE Vec<T> operator()(int k, const Vec<T>* value) const {
        return value[0] * (row * column[k] + flat_row * flat_column[k]);
    }
};

template <class T, int Terms>
struct MapMix {
    const Vec<T>* map[Terms];
    SOFTDIFF_INLINE Vec<T> operator()(int k, const Vec<T>* value) const {
        Vec<T> sum = value[0] * map[0][k];
        SOFTDIFF_UNROLL
        for (int i = 1; i < Terms; ++i) sum += value[i] * map[i][k];
        return sum;
    }
};

// Noise is in natural frequency order, so that its numbers do not depend on how the transform is factored.
template <class T, int Terms>
struct NoisyMix {
    MapMix<T, Terms> images;
    const Vec<T>*noise_map, *noise;
    const std::int32_t* frequency;
    SOFTDIFF_INLINE Vec<T> operator()(int k, const Vec<T>* value) const {
        return images(k, value) + noise_map[k] * noise[frequency[k]];
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// Images that are added to a result while it is written: the terms of a combination whose gain is one number.
#pragma once

#include <cstddef>

#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// A plane in memory as rows of T.
template <class T>
struct StagedPlane {
    const T* data;
    std::ptrdiff_t row_stride;
};

template <class T>
struct Addends {
    static constexpr int kMost = 2;
    int count = 0;
    StagedPlane<T> image[kMost];
    T factor[kMost];

    void add(StagedPlane<T> plane, T times) {
        image[count] = plane;
        factor[count++] = times;
    }
};

// A view (core/codelets.hpp) of a column of vectors in memory that adds to each value what the addends have at its place.
template <class T, int Count>
struct SumOut {
    T* data;
    std::ptrdiff_t stride, ahead;
    StagedPlane<T> image[Count];
    T factor[Count];
    SOFTDIFF_INLINE void put(int i, Vec<T> value) const {
        SOFTDIFF_UNROLL
        for (int k = 0; k < Count; ++k) {
            __builtin_prefetch(image[k].data + i * image[k].row_stride + ahead, 0, 3);
            value += load(image[k].data + i * image[k].row_stride) * factor[k];
        }
        __builtin_prefetch(data + i * stride + ahead, 1, 3);
        store(data + i * stride, value);
    }
};

template <class T, int Count>
SOFTDIFF_INLINE SumOut<T, Count> sum_out(const Addends<T>& addends, T* out, std::ptrdiff_t stride, int column,
                                         std::ptrdiff_t ahead) {
    SumOut<T, Count> view{out + column, stride, ahead, {}, {}};
    SOFTDIFF_UNROLL
    for (int k = 0; k < Count; ++k) {
        view.image[k] = {addends.image[k].data + column, addends.image[k].row_stride};
        view.factor[k] = addends.factor[k];
    }
    return view;
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

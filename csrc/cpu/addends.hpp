// Images that are added to a result while it is written: the terms of a combination whose gain is one number.
#pragma once

#include <cstddef>

#include "prefetch.hpp"
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

// A view (core/codelets.hpp) that adds to each value what the addends have at its place, and hands it on to the view `out`.
// Where that fetches what lies ahead, so do the addends.
template <class T, int Count, class Out>
struct SumOut {
    Out out;
    StagedPlane<T> image[Count];
    T factor[Count];
    SOFTDIFF_INLINE void put(int i, Vec<T> value) const {
        SOFTDIFF_UNROLL
        for (int k = 0; k < Count; ++k) {
            const T* from = image[k].data + i * image[k].row_stride;
            if constexpr (Out::kAhead) fetch_line<FetchFor::kRead>(from + out.ahead);
            value += load(from) * factor[k];
        }
        out.put(i, value);
    }
};

template <int Count, class T, class Out>
SOFTDIFF_INLINE SumOut<T, Count, Out> sum_out(const Addends<T>& addends, Out out, int column) {
    SumOut<T, Count, Out> view{out, {}, {}};
    SOFTDIFF_UNROLL
    for (int k = 0; k < Count; ++k) {
        view.image[k] = {addends.image[k].data + column, addends.image[k].row_stride};
        view.factor[k] = addends.factor[k];
    }
    return view;
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

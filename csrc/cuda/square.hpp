// Square planes of the sides that have codelets for a whole line: a thread holds a line in registers, a block has a few planes
// in shared memory as tiles of N x (N + 1), where no bank is met twice in a warp, neither along columns nor along rows. Images
// are read once and results are written once (square_combine.hpp, square_transform.hpp).
#pragma once

#include "../core/codelets.hpp"
#include "mix.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <int N, class T>
struct SquarePlane {
    static constexpr int kStride = N + 1;
    static constexpr int kTile = N * kStride;
    static constexpr int kPlanes = N >= 128 ? 1 : N >= 64 ? 2 : N >= 28 ? 4 : 128 / N;  // of a block, at most
    static constexpr int kThreads = N * kPlanes;
    // Blocks of an SM that registers must allow: 96 registers a thread for short lines, 128 for 64, 168 for 128.
    static constexpr int kBlocks = N >= 128 ? 3 : N >= 64 ? 4 : 5;
    using Codes = Codelet<T, T, N>;

    // The weights that make C2 and C3 inverse to each other, and their roots, which make them orthonormal.
    static SOFTDIFF_INLINE T weight(int k) { return static_cast<T>(k == 0 ? 1.0 / N : 2.0 / N); }
    static SOFTDIFF_INLINE T root_weight(int k) {
        constexpr double kFirst = root(1.0 / N), kOther = root(2.0 / N);
        return static_cast<T>(k == 0 ? kFirst : kOther);
    }

    // Where a thread works: plane q of the block, line l.
    struct Place {
        int q, line, planes;  // planes: how many the block has
        std::int64_t plane, b, c;
        bool idle;

        SOFTDIFF_INLINE Place(Where where, std::int64_t all, std::int64_t channels, int planes_per_block)
            : q(where.thread / N),
              line(where.thread % N),
              planes(planes_of(where, all, planes_per_block)),
              plane(where.block * planes_per_block + q),
              b(plane / channels),
              c(plane % channels),
              idle(q >= planes) {}
    };
    static SOFTDIFF_INLINE int planes_of(Where where, std::int64_t all, int planes_per_block) {
        const std::int64_t left = all - where.block * planes_per_block;
        return static_cast<int>(left < planes_per_block ? left : planes_per_block);
    }

    static LaunchShape shape(std::int64_t planes, int planes_per_block, int values_per_plane) {
        return {ceil_of(planes, planes_per_block), N * planes_per_block,
                planes_per_block * values_per_plane * static_cast<int>(sizeof(T))};
    }
    // As many planes as fit, up to kPlanes.
    static int planes_per_block(int values_per_plane) {
        return std::min(kPlanes, kMaxSharedBytes / (values_per_plane * static_cast<int>(sizeof(T))));
    }

    template <class View>
    static SOFTDIFF_INLINE Line<T, View> column(View tile, int w) {
        return {tile + w, kStride};
    }
    template <class View>
    static SOFTDIFF_INLINE Line<T, View> row(View tile, int h) {
        return {tile + h * kStride, 1};
    }

    // A transform of a line onto itself: all of it is read before any of it is written.
    template <class View>
    static SOFTDIFF_INLINE void dct2_in_place(Line<T, View> line) {
        T y[N];
        Codes::dct2(line, Values<T>{y});
        put_all(line, y);
    }
    template <class View>
    static SOFTDIFF_INLINE void dct3_in_place(Line<T, View> line) {
        T y[N];
        Codes::dct3(line, Values<T>{y});
        put_all(line, y);
    }
    template <class View>
    static SOFTDIFF_INLINE void put_all(Line<T, View> line, const T* y) {
        SOFTDIFF_UNROLL
        for (int k = 0; k < N; ++k) line.put(k, y[k]);
    }

    // Square root at compile time by Newton's iteration.
    static constexpr double root(double x) {
        double r = 1.0;
        for (int i = 0; i < 60; ++i) r = 0.5 * (r + x / r);
        return r;
    }
};

// A column of an image into registers. `at` is a Place.
template <class Space, class T, int N, class At>
SOFTDIFF_INLINE void read_column(const Image& image, Dtype dtype, const At& at, T* x) {
    const std::int64_t offset = plane_offset(image, at.b, at.c) + at.line * image.stride[3];
    const auto stride = static_cast<int>(image.stride[2]);
    with_input<Space, T>(image.data, dtype, offset, [&](auto from) {
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) x[i] = widen(from[static_cast<std::int64_t>(i) * stride]);
    });
}

// A column from registers to a contiguous result.
template <class Space, class T, int N, class At>
SOFTDIFF_INLINE void write_column(void* out, Dtype dtype, const At& at, const T* y) {
    with_output<Space, T>(out, dtype, at.plane * (N * N) + at.line, [&](auto to, auto as) {
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) to[i * N] = Narrow<typename decltype(as)::Type>::from(y[i]);
    });
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

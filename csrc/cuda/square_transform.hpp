// Transforms of square planes on their own. As in square.hpp a thread holds a line in registers, and global memory is read
// once and written once.
#pragma once

#include "square.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

struct TransformParams {
    cuda::Transform task;
    std::int64_t planes;
    int planes_per_block;
    Divider channels_apart;
};

// Orthonormal DCT-II of planes, or its inverse.
template <int N, class T>
struct SquareTransform {
    using Square = SquarePlane<N, T>;
    using Params = TransformParams;
    static constexpr const char* kName = "transform, square planes";
    static constexpr int kMostPhases = 0;  // as in square_combine.hpp
    static constexpr int kMaxThreads = Square::kThreads, kMinBlocks = Square::kBlocksOfOneTile;

    static LaunchShape shape(Params& p) {
        p.planes_per_block = Square::planes_per_block(Square::kTile);
        return Square::shape(p.planes, p.planes_per_block, Square::kTile);
    }
    static SOFTDIFF_INLINE int phases(const Params&) { return 3; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const typename Square::Place at(where, p.planes, p.channels_apart, p.planes_per_block);
        auto tiles = Space::template shared<T>(shared, 0);
        const bool inverse = p.task.inverse;
        if (i == 0 && inverse) return coefficients_in<Space>(p, at, where, tiles);
        if (i == 2 && !inverse) return coefficients_out<Space>(p, at, where, tiles);
        if (at.idle) return;
        auto tile = tiles + at.q * Square::kTile;
        const auto column = Square::column(tile, at.line), row = Square::row(tile, at.line);
        T x[N], y[N];
        if (i == 0) {
            read_column<Space, T, N>(p.task.input, p.task.dtype, at, x);
        } else if (i == 1) {
            Square::get_all(row, x);
        } else {
            Square::get_all(column, x);
        }
        if (inverse) {
            Square::dct3(x, y);
        } else {
            Square::dct2(x, y);
        }
        if (i == 0) return Square::put_all(column, y);
        if (i == 1) return Square::put_all(row, y);
        write_column<Space, T, N>(p.task.out, p.task.dtype, at, y);
    }

  private:
    // body(element among the planes of the block, plane, row, column, weight that makes the coefficient orthonormal, its place
    // in the tiles): neighbouring threads on neighbouring coefficients.
    template <class Body>
    static SOFTDIFF_INLINE void for_coefficients(const Params& p, const typename Square::Place& at, Where where, Body body) {
        const std::int64_t first_plane = where.block * p.planes_per_block;
        for (int e = where.thread; e < at.planes * (N * N); e += where.threads) {
            const int q = e / (N * N), h = e % (N * N) / N, w = e % N;
            body(e, first_plane + q, h, w, Square::root_weight(h) * Square::root_weight(w),
                 q * Square::kTile + h * Square::kStride + w);
        }
    }

    template <class Space, class View>
    static SOFTDIFF_INLINE void coefficients_in(const Params& p, const typename Square::Place& at, Where where, View tiles) {
        const Image& image = p.task.input;
        with_input<Space, T>(image.data, p.task.dtype, 0, [&](auto from) {
            for_coefficients(p, at, where, [&](int, std::int64_t plane, int h, int w, T weight, int place) {
                const std::int64_t offset = plane_offset(image, plane / p.task.channels, plane % p.task.channels);
                tiles[place] = weight * widen(from[offset + place_in_plane(image, h, w)]);
            });
        });
    }

    template <class Space, class View>
    static SOFTDIFF_INLINE void coefficients_out(const Params& p, const typename Square::Place& at, Where where, View tiles) {
        const std::int64_t begin = where.block * p.planes_per_block * (N * N);
        with_output<Space, T>(p.task.out, p.task.dtype, begin, [&](auto to, auto as) {
            for_coefficients(p, at, where, [&](int e, std::int64_t, int, int, T weight, int place) {
                to[e] = Narrow<typename decltype(as)::Type>::from(weight * static_cast<T>(tiles[place]));
            });
        });
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

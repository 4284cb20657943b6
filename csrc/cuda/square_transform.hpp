// Transforms of square planes on their own, and the energy of a difference, which needs no transform back. As in square.hpp a
// thread holds a line in registers, and global memory is read once.
#pragma once

#include "square.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

struct TransformParams {
    cuda::Transform task;
    std::int64_t planes;
    int planes_per_block;
};

// Orthonormal DCT-II of planes, or its inverse.
template <int N, class Storage>
struct SquareTransform {
    using T = typename ArithmeticOf<Storage>::Type;
    using Square = SquarePlane<N, T>;
    using Params = TransformParams;
    static constexpr const char* kName = "transform, square planes";
    static constexpr int kMostPhases = 3;
    static constexpr int kMaxThreads = Square::kThreads, kMinBlocks = Square::kBlocks;

    static LaunchShape shape(Params& p) {
        p.planes_per_block = Square::planes_per_block(Square::kTile);
        return Square::shape(p.planes, p.planes_per_block, Square::kTile);
    }
    static SOFTDIFF_INLINE int phases(const Params&) { return kMostPhases; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const typename Square::Place at(where, p.planes, p.task.channels, p.planes_per_block);
        auto tiles = Space::template shared<T>(shared, 0);
        const bool inverse = p.task.inverse;
        if ((i == 2 && !inverse) || (i == 0 && inverse)) {
            const int count = at.planes * (N * N);
            const std::int64_t first_plane = where.block * p.planes_per_block;
            for (int e = where.thread; e < count; e += where.threads) {
                const int q = e / (N * N), h = e % (N * N) / N, w = e % N;
                const T weight = Square::root_weight(h) * Square::root_weight(w);
                auto in_tile = tiles + (q * Square::kTile + h * Square::kStride + w);
                const std::int64_t plane = first_plane + q;
                if (inverse) {
                    const Image& image = p.task.input;
                    in_tile[0] = weight * pixel_at<Space, Storage>(
                                              image, plane_offset(image, plane / p.task.channels, plane % p.task.channels) +
                                                         h * image.stride[2] + w * image.stride[3]);
                } else {
                    Space::global(static_cast<Storage*>(p.task.out))[first_plane * (N * N) + e] =
                        Narrow<Storage>::from(weight * static_cast<T>(in_tile[0]));
                }
            }
            return;
        }
        if (at.idle) return;
        auto tile = tiles + at.q * Square::kTile;
        if (i == 0) {
            Square::Codes::dct2(ImageColumn<Space, Storage>::of(p.task.input, at.b, at.c, at.line),
                                Square::column(tile, at.line));
        } else if (i == 1 && !inverse) {
            Square::dct2_in_place(Square::row(tile, at.line));
        } else if (i == 1) {
            Square::dct3_in_place(Square::row(tile, at.line));
        } else {
            Square::Codes::dct3(Square::column(tile, at.line), OutColumn<Space, Storage, N>::of(p.task.out, at.plane, at.line));
        }
    }
};

struct EnergyParams {
    cuda::Energy task;
    std::int64_t planes;
    int planes_per_block;
    void* partial;  // [planes] in the type of the arithmetic
};

// Of each plane: the sum of (alpha V^T (a - b))^2.
template <int N, class Storage>
struct SquareEnergy {
    using T = typename ArithmeticOf<Storage>::Type;
    using Square = SquarePlane<N, T>;
    using Params = EnergyParams;
    static constexpr const char* kName = "energy, square planes";
    static constexpr int kMostPhases = 3;
    // A row of 128 that is transformed while its weighted squares are added up takes more than the 168 registers of kBlocks.
    static constexpr int kMaxThreads = Square::kThreads, kMinBlocks = N >= 128 ? 2 : Square::kBlocks;
    static constexpr int kTable = 2 * N + 2;  // decay, the sum of each row, slope and flat part of alpha

    static LaunchShape shape(Params& p) {
        p.planes_per_block = Square::planes_per_block(Square::kTile + kTable);
        return Square::shape(p.planes, p.planes_per_block, Square::kTile + kTable);
    }
    static SOFTDIFF_INLINE int phases(const Params&) { return kMostPhases; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const typename Square::Place at(where, p.planes, p.task.channels, p.planes_per_block);
        if (at.idle) return;
        auto tiles = Space::template shared<T>(shared, 0);
        auto tile = tiles + at.q * Square::kTile;
        auto decay = tiles + (p.planes_per_block * Square::kTile + at.q * kTable);
        auto sums = decay + N;
        switch (i) {
            case 0: {
                decay[at.line] = decay_of<T>(at.line, N, field_at<Space>(p.task.level.field[1], at.b));
                if (at.line == 0) fill_alpha<Space>(p, at.b, sums + N);
                const Image &a = p.task.a, &b = p.task.b;
                for (int h = 0; h < N; ++h)  // apart from the transform: two columns at once are too much for the registers
                    tile[h * Square::kStride + at.line] =
                        pixel_at<Space, Storage>(a, plane_offset(a, at.b, at.c) + h * a.stride[2] + at.line * a.stride[3]) -
                        pixel_at<Space, Storage>(b, plane_offset(b, at.b, at.c) + h * b.stride[2] + at.line * b.stride[3]);
                Square::dct2_in_place(Square::column(tile, at.line));
                break;
            }
            case 1: {
                const T slope = static_cast<T>(decay[at.line]) * static_cast<T>(sums[N]), flat = sums[N + 1];
                T sum = 0;
                Square::Codes::dct2(Square::row(tile, at.line), Summed<decltype(decay)>{&sum, decay, slope, flat});
                sums[at.line] = sum * Square::weight(at.line);
                break;
            }
            default:
                if (at.line == 0) {
                    T sum = 0;
                    for (int h = 0; h < N; ++h) sum += static_cast<T>(sums[h]);
                    Space::global(static_cast<T*>(p.partial))[at.plane] = sum;
                }
        }
    }

  private:
    template <class Space, class View>
    static SOFTDIFF_OUTLINE void fill_alpha(const Params& p, std::int64_t b, View to) {
        const Level level = level_at<Space>(p.task.level, b);
        const double a = exp(level.log_a);
        to[0] = static_cast<T>(a * (1.0 - level.floor));
        to[1] = static_cast<T>(a * level.floor);
    }

    // Coefficients of a row, weighted, squared and added up.
    template <class View>
    struct Summed {
        T* sum;
        View decay;
        T slope, flat;
        SOFTDIFF_INLINE void put(int k, T value) const {
            const T weighted = (slope * static_cast<T>(decay[k]) + flat) * value;
            *sum += weighted * weighted * Square::weight(k);
        }
    };
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

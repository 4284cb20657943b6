// Combinations of square planes that a block cannot hold: 256, and 128 with more images than one. Three passes:
//
//   HalvesIn     C2 of the columns of an image, from the image to a scratch tensor; once for each image
//   HalvesRows   C2 of 32 rows, gains and noise, C3 of the rows, from scratch tensor to scratch tensor
//   HalvesOut    C3 of the columns, the images that are added in pixel space, noise, the result
#pragma once

#include <algorithm>

#include "halves_rows.hpp"
#include "tile_program.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// A block has one half of its columns, its neighbour the other half of the same ones.
template <int N, class T>
struct HalvesIn {
    using Line = Halves<N, T>;
    using Params = HalvesParams<T>;
    static constexpr const char* kName = "halves, columns in";
    static constexpr int kMostPhases = 1;
    static constexpr int kColumns = 128;
    static constexpr int kMaxThreads = kColumns, kMinBlocks = Line::kBlocks;

    static LaunchShape shape(const Params& p) { return {2 * p.count * (N / kColumns), kMaxThreads, 0}; }
    static SOFTDIFF_INLINE int phases(const Params&) { return kMostPhases; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int, const Params& p, Where where, typename Space::Shared) {
        using Place = typename Line::template Place<kColumns>;
        const bool odd = where.block % 2 == 1;
        T x[Line::kHalf], y[Line::kHalf];
        fold<Space>(p, Place(where.block / 2, p), where.thread, odd, x);
        Line::transform(odd, false, x, y);
        const Where same = forgotten(where);
        const Place at(same.block / 2, p);
        auto to = Space::global(p.scratch) +
                  (p.slot * p.scratch_values + at.local * (N * N) + (odd ? N : 0) + at.first + same.thread);
        SOFTDIFF_UNROLL
        for (int k = 0; k < Line::kHalf; ++k) to[2 * k * N] = y[k];
    }

  private:
    // x[i] plus, or minus where `odd`, x[N - 1 - i] of a column.
    template <class Space, class At>
    static SOFTDIFF_INLINE void fold(const Params& p, const At& at, int thread, bool odd, T* x) {
        const Image& image = p.combine.task.term[p.term];
        const std::int64_t offset = plane_offset(image, at.b, at.c) + (at.first + thread) * image.stride[3];
        const auto stride = static_cast<int>(image.stride[2]);
        with_input<Space, T>(image.data, p.combine.task.dtype, offset, [&](auto from) {
            SOFTDIFF_UNROLL
            for (int i = 0; i < Line::kHalf; ++i) x[i] = T(0);
            SOFTDIFF_ROLLED
            for (int side = 0; side < 2; ++side) {
                const auto line = from + (side == 0 ? 0 : static_cast<std::int64_t>(N - 1) * stride);
                const int step = side == 0 ? stride : -stride;
                const T sign = side == 1 && odd ? T(-1) : T(1);
                SOFTDIFF_UNROLL
                for (int i = 0; i < Line::kHalf; ++i) x[i] += sign * widen(line[static_cast<std::int64_t>(i) * step]);
            }
        });
    }
};

template <int N, class T>
struct HalvesOut {
    using Line = Halves<N, T>;
    using Params = HalvesParams<T>;
    static constexpr const char* kName = "halves, columns out";
    static constexpr int kMostPhases = 2;
    static constexpr int kColumns = kNormalBlock;  // of a block: those of a quad (mix.hpp)
    static constexpr int kMaxThreads = 2 * kColumns, kMinBlocks = Line::kBlocks;
    static constexpr int kTile = N * kColumns;  // half a plane's rows: the even parts of the columns, then the odd parts

    static LaunchShape shape(const Params& p) {
        const int values = kTile + kConstants + kTerms + 1;
        return {p.count * (N / kColumns), kMaxThreads, values * static_cast<int>(sizeof(T))};
    }
    static SOFTDIFF_INLINE int phases(const Params&) { return kMostPhases; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const typename Line::template Place<kColumns> at(where.block, p);
        auto tile = Space::template shared<T>(shared, 0);
        using View = decltype(tile);
        View constants = tile + kTile, numbers = constants + kConstants;
        if (i == 1) return out<Space>(p.combine, at, where, tile, numbers);
        const bool odd = where.thread >= kColumns;
        const int column = where.thread % kColumns;
        const auto from = Space::global(p.scratch) + (at.local * (N * N) + (odd ? N : 0) + at.first + column);
        T x[Line::kHalf], y[Line::kHalf];
        SOFTDIFF_UNROLL
        for (int k = 0; k < Line::kHalf; ++k) x[k] = from[2 * k * N];
        Line::transform(odd, true, x, y);
        View own = tile + ((odd ? kTile / 2 : 0) + column);
        SOFTDIFF_UNROLL
        for (int k = 0; k < Line::kHalf; ++k) own[k * kColumns] = y[k];
        if (where.thread == 0)
            fill_constants<Space, T>(p.combine, at.b, at.c, GainTables<View>{{}, {}, {}, {}, {}, {}, constants, numbers});
    }

  private:
    // Quads of two rows at once, i and N - 1 - i: sum and difference of the same parts.
    template <class Space, class At, class View>
    static SOFTDIFF_INLINE void out(const CombineParams& p, const At& at, Where where, View tile, View numbers) {
        const std::int64_t begin = at.plane * (N * N) + at.first;
        const PlaneOffsets offsets(p, at.b, at.c);
        const std::uint64_t seed = p.pixel_noise ? seed_of<Space>(p.task.seed) : 0;
        const T gain = p.pixel_noise ? static_cast<T>(numbers[2]) : T(0);
        for (int j = where.thread; j < Line::kHalf * kNormalLanes; j += where.threads) {
            const int i = static_cast<int>(static_cast<unsigned>(j) / kNormalLanes);
            const int lane = static_cast<int>(static_cast<unsigned>(j) % kNormalLanes);
            T value[2][4];
            SOFTDIFF_UNROLL
            for (int k = 0; k < 4; ++k) {
                View here = tile + (i * kColumns + lane + k * kNormalLanes);
                const T even = here[0], odd = here[kTile / 2];
                value[0][k] = even + odd;
                value[1][k] = even - odd;
            }
            SOFTDIFF_UNROLL
            for (int side = 0; side < 2; ++side) {
                const int row = side == 0 ? i : N - 1 - i;
                T* const v = value[side];
                if (p.pixel_terms > 0) {
                    with_word<T>(p.task.dtype, [&](auto as) {
                        SOFTDIFF_UNROLL
                        for (int k = 0; k < 4; ++k)
                            v[k] += pixel_terms<Space, T, typename decltype(as)::Type>(p, numbers, offsets, row,
                                                                                       at.first + lane + k * kNormalLanes);
                    });
                }
                const std::int64_t of_row = begin + row * N;
                if (p.pixel_noise) {
                    const NormalQuad<T> noise = normal_quad<T>(static_cast<std::uint64_t>(of_row) / 4 + lane, seed);
                    SOFTDIFF_UNROLL
                    for (int k = 0; k < 4; ++k) v[k] += gain * noise.value[k];
                }
                store_quad<Space>(p.task.out, p.task.dtype, of_row, Quads<true>(of_row, kColumns), lane, v);
            }
        }
    }
};

// Whether the passes take a combination of planes of side N.
template <int N, class T>
bool halves_take(const CombineParams& p) {
    return p.spectral_terms > 0 && HalvesRows<N, T>::takes(p);
}

template <int N, class T, class Launcher>
void halves_combine(const CombineParams& combine, Launcher& launcher) {
    const std::int64_t plane_bytes = N * N * combine.spectral_terms * static_cast<std::int64_t>(sizeof(T));
    const std::int64_t chunk = planes_of_chunk(combine.planes, plane_bytes, launcher.most_scratch_bytes());
    HalvesParams<T> p{combine, 0, 0, static_cast<T*>(launcher.workspace(chunk * plane_bytes)), chunk * N * N, 0, 0};
    for (; p.first_plane < combine.planes; p.first_plane += chunk) {
        p.count = std::min(chunk, combine.planes - p.first_plane);
        p.slot = 0;
        for (p.term = 0; p.term < kTerms; ++p.term) {
            if (!combine.spectral[p.term]) continue;
            launcher.template run<HalvesIn<N, T>>(HalvesIn<N, T>::shape(p), p);
            ++p.slot;
        }
        launcher.template run<HalvesRows<N, T>>(HalvesRows<N, T>::shape(p), p);
        launcher.template run<HalvesOut<N, T>>(HalvesOut<N, T>::shape(p), p);
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

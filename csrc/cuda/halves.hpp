// Combinations of square planes that a block cannot hold: 256, and 128 with more images than one. Three passes:
//
//   HalvesIn     C2 of the columns of an image, from the image to a scratch tensor; once for each image
//   HalvesRows   C2 of 32 rows, gains and noise, C3 of the rows, from scratch tensor to scratch tensor
//   HalvesOut    C3 of the columns, the images that are added in pixel space, noise, the result
//
// A line of N is two lines of n = N / 2 (core/codelets.hpp): C2(N) is C2(n) of the sums x[i] + x[N-1-i], which gives the even
// frequencies, and C4(n) of the differences, which gives the odd ones; C3(N) the transpose. A thread has one of the two in
// registers. The threads of a warp have the same half, so none waits for another codelet, and there are no butterflies. In a
// tile a row has its even frequencies first, then the odd ones.
#pragma once

#include <algorithm>

#include "square.hpp"
#include "tile_program.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
struct HalvesParams {
    CombineParams combine;
    std::int64_t first_plane, count;  // of the launch
    T* scratch;                       // [terms][chunk] planes
    std::int64_t scratch_values;      // of a term
    int slot;                         // HalvesIn: the term's place among those that are transformed
    int term;                         // and the term
};

template <int N, class T>
struct Halves {
    static constexpr int kHalf = N / 2;
    static constexpr int kLines = 32;  // of a warp
    static constexpr int kBlocks = N >= 256 ? 3 : 4;
    using Codes = Codelet<T, T, kHalf>;
    using Whole = SquarePlane<N, T>;

    static SOFTDIFF_INLINE void forward(bool odd, const T* x, T* y) {
        if (odd) {
            Codes::dct4(Values<const T>{x}, Values<T>{y});
        } else {
            Codes::dct2(Values<const T>{x}, Values<T>{y});
        }
    }
    static SOFTDIFF_INLINE void inverse(bool odd, const T* x, T* y) {
        if (odd) {
            Codes::dct4(Values<const T>{x}, Values<T>{y});
        } else {
            Codes::dct3(Values<const T>{x}, Values<T>{y});
        }
    }

    // Where a block works that has a panel of `Lines` lines of a plane.
    template <int Lines>
    struct Place {
        std::int64_t plane, b, c, local;  // local: of the launch
        int first;                        // line
        SOFTDIFF_INLINE Place(std::int64_t number, const HalvesParams<T>& p) {
            constexpr unsigned kPanels = N / Lines;
            const auto block = static_cast<std::uint32_t>(number), index = block / kPanels;
            const auto of_all = static_cast<std::uint32_t>(p.first_plane) + index;
            const std::uint32_t sample = p.combine.channels_apart.divide(of_all);
            local = index;
            plane = of_all;
            b = sample;
            c = of_all - sample * p.combine.channels_apart.divisor;
            first = static_cast<int>(block % kPanels) * Lines;
        }
    };
};

// A block has one half of its columns, neighbouring blocks the two halves of the same ones: while the blocks of a
// multiprocessor are of one kind, as they are at first where their number is even, it needs one codelet, and the instruction
// cache holds it.
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
        Line::forward(odd, x, y);
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
struct HalvesRows {
    using Line = Halves<N, T>;
    using Whole = typename Line::Whole;
    using Params = HalvesParams<T>;
    static constexpr const char* kName = "halves, rows";
    static constexpr int kMostPhases = 0;  // so that C2, C3 and C4 stand there once (square_combine.hpp)
    static constexpr int kMaxThreads = 2 * Line::kLines * kTerms, kMinBlocks = 2;
    static constexpr int kRows = Line::kLines;
    static constexpr int kOdd = N / 2 + 16;  // where a row of a tile has its odd frequencies: in other banks than the even ones
    static constexpr int kStride = kOdd + N / 2 + 1;
    static constexpr int kTile = kRows * kStride;
    static constexpr int kDecays = N + kRows, kNumbers = kConstants + kTerms + 1;

    // A step has two tables more, which a level does without: a sixth block of a multiprocessor of 227 KB depends on it.
    static int shared_bytes(const CombineParams& p) {
        const int tables = kDecays + kNumbers + (p.task.kind == GainKind::kStep ? 2 * kDecays : 0);
        return (p.spectral_terms * kTile + tables) * static_cast<int>(sizeof(T));
    }
    static bool takes(const CombineParams& p) { return shared_bytes(p) <= kMaxSharedBytes; }
    static LaunchShape shape(const Params& p) {
        return {p.count * (N / kRows), 2 * kRows * p.combine.spectral_terms, shared_bytes(p.combine)};
    }
    static SOFTDIFF_INLINE bool is_level(const Params& p) {
        return p.combine.task.kind == GainKind::kLevel && p.combine.spectral_terms == 1;
    }
    static SOFTDIFF_INLINE int phases(const Params& p) { return is_level(p) ? 3 : 5; }
    static SOFTDIFF_INLINE int place(int w) {
        const auto u = static_cast<unsigned>(w);
        return static_cast<int>(u % 2 * kOdd + u / 2);
    }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const typename Line::template Place<kRows> at(where.block, p);
        auto tiles = Space::template shared<T>(shared, 0);
        using View = decltype(tiles);
        View row = tiles + p.combine.spectral_terms * kTile, column = row + kRows, numbers = row + kDecays;
        View fade = numbers + kNumbers, rest = fade + kDecays;
        const GainTables<View> tables{row, fade, rest, column, fade + kRows, rest + kRows, numbers, numbers + kConstants};
        const bool level = is_level(p);
        if (i == 0) {
            fill<Space>(p.combine, at.b, at.c, at.first, where, tables);
            return fold<Space>(p, at, where, tiles);
        }
        if (i == phases(p) - 1) return unfold<Space>(p, at, where, tiles);
        if (i == 2) return mix<Space>(p.combine, at, where, tiles, tables);
        const bool forwards = i == 1;
        if (!forwards && where.thread >= 2 * kRows) return;  // all is in the first tile
        const int line = where.thread % kRows, warp = where.thread / kRows;
        const bool odd = warp % 2 == 1;
        View own = tiles + (warp / 2 * kTile + line * kStride + (odd ? kOdd : 0));
        SOFTDIFF_ROLLED
        for (int back = forwards ? 0 : 1; back < (forwards && !level ? 1 : 2); ++back) {
            T x[Line::kHalf], y[Line::kHalf];
            SOFTDIFF_UNROLL
            for (int k = 0; k < Line::kHalf; ++k) x[k] = own[k];
            if (back == 1 && !odd) x[0] *= T(0.5);  // SquarePlane::inverse
            if (odd) {
                Line::Codes::dct4(Values<const T>{x}, Values<T>{y});
            } else if (back == 0) {
                Line::Codes::dct2(Values<const T>{x}, Values<T>{y});
            } else {
                Line::Codes::dct3(Values<const T>{x}, Values<T>{y});
            }
            if (back == 0 && level) apply_level(p.combine, tables, line, odd, y);
            SOFTDIFF_UNROLL
            for (int k = 0; k < Line::kHalf; ++k) own[k] = y[k];
        }
    }

  private:
    using Place = typename Line::template Place<kRows>;

    template <class Space, class View>
    static SOFTDIFF_INLINE void fill(const CombineParams& p, std::int64_t b, std::int64_t c, int first, Where where,
                                     const GainTables<View>& tables) {
        const Level t = level_at<Space>(p.task.t, b), s = p.task.kind == GainKind::kStep ? level_at<Space>(p.task.s, b) : t;
        fill_axis<T>(
            p.task, s, t, N, kRows, where.thread, where.threads, [&](int k) { return first + k; }, tables.row_decay,
            tables.row_fade, tables.row_rest);
        fill_axis<T>(
            p.task, s, t, N, N, where.thread, where.threads, [](int k) { return k; }, tables.column_decay, tables.column_fade,
            tables.column_rest);
        if (where.thread == 0) fill_constants<Space, T>(p, b, c, tables);
    }

    // body(row, i) for the positions of a tile's halves: neighbouring threads on neighbouring positions of a row.
    template <class Body>
    static SOFTDIFF_INLINE void for_pairs(Where where, Body body) {
        SOFTDIFF_UNROLL_8
        for (int e = where.thread; e < kRows * Line::kHalf; e += where.threads)
            body(static_cast<int>(static_cast<unsigned>(e) / Line::kHalf),
                 static_cast<int>(static_cast<unsigned>(e) % Line::kHalf));
    }
    static SOFTDIFF_INLINE std::int64_t scratch_offset(const Params& p, const Place& at, int slot) {
        return slot * p.scratch_values + at.local * (N * N) + at.first * N;
    }

    template <class Space, class View>
    static SOFTDIFF_INLINE void fold(const Params& p, const Place& at, Where where, View tiles) {
        for (int slot = 0; slot < p.combine.spectral_terms; ++slot) {
            const auto from = Space::global(p.scratch) + scratch_offset(p, at, slot);
            View tile = tiles + slot * kTile;
            for_pairs(where, [&](int row, int i) {
                const T a = from[row * N + i], b = from[row * N + N - 1 - i];
                tile[row * kStride + i] = a + b;
                tile[row * kStride + kOdd + i] = a - b;
            });
        }
    }
    template <class Space, class View>
    static SOFTDIFF_INLINE void unfold(const Params& p, const Place& at, Where where, View tile) {
        auto to = Space::global(p.scratch) + scratch_offset(p, at, 0);
        for_pairs(where, [&](int row, int i) {
            const T even = tile[row * kStride + i], odd = tile[row * kStride + kOdd + i];
            to[row * N + i] = even + odd;
            to[row * N + N - 1 - i] = even - odd;
        });
    }

    // The coefficients of half a row times their gains.
    template <class View>
    static SOFTDIFF_INLINE void apply_level(const CombineParams& p, const GainTables<View>& tables, int line, bool odd, T* y) {
        const LevelGains<N, T> gains(p, tables.row_decay[line], tables.constants[0], tables.constants[1]);
        View decay = tables.column_decay + (odd ? 1 : 0);
        SOFTDIFF_UNROLL
        for (int k = 0; k < Line::kHalf; ++k) y[k] = gains(y[k], decay[2 * k]);
    }

    // The gains of all terms, and the noise, into the first tile.
    template <class Space, class View>
    static SOFTDIFF_INLINE void mix(const CombineParams& p, const Place& at, Where where, View tiles,
                                    const GainTables<View>& tables) {
        using Mixer = FrequencyMixer<N, Space, T, View>;
        const Mixer mixer(p, tables, at.b, at.c, kTile);
        const bool draws = p.spectral_noise;
        const Quads<true> quads(at.plane * (N * N) + at.first * N, kRows * N);
        for_quads<T>(quads, draws ? seed_of<Space>(p.task.seed) : 0, where.thread, where.threads, [&](int first, auto draw) {
            NormalQuad<T> noise{};
            if (draws) noise = draw();
            mixer.quad(
                tiles,
                [&](int k) -> typename Mixer::At {
                    const int position = first + k * kNormalLanes, row = Whole::row_of(position),
                              w = Whole::column_of(position);
                    return {true, at.first + row, w, row, w, row * kStride + place(w)};
                },
                noise);
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
        if (!odd) x[0] *= T(0.5);  // SquarePlane::inverse
        Line::inverse(odd, x, y);
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

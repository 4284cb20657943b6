// The pass along the rows of planes that are transformed by halves (halves.hpp).
#pragma once

#include "half_lines.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

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
    static SOFTDIFF_INLINE bool is_level(const Params& p) { return p.combine.task.kind == GainKind::kLevel; }
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
            Line::transform(odd, back == 1, x, y);
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

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

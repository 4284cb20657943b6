// Combinations of square planes (square.hpp).
//
//   columns in    C2 of the columns, straight from the images to a tile
//   rows          C2, gains, C3 of a row in registers (a level's blur), or apart with the gains and the noise in between, where
//                 neighbouring threads work on neighbouring frequencies
//   columns out   C3 of the columns, the images that are added in pixel space, and the result; where noise is drawn in pixel
//                 space, a tile again, to which neighbouring threads add it on the way out
//
// 8 bytes a pixel move through global memory (float32, one image), and 5 times 4 through shared memory: the tile
// twice in and twice out, and the decays.
//
// The codelets are most of the code, and an instruction cache holds that of one C2 and one C3 of 64 or 128 numbers at most (on
// an H100 a half of the time of 128 went into waiting for instructions when each phase had its own). So a phase is a way
// through one body, in which C2 and C3 stand once, and kMostPhases is 0.
#pragma once

#include "square.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// The end of both combinations below: what is added in pixel space, and the result.
template <int N, class T>
struct SquareEnd {
    using Square = SquarePlane<N, T>;

    // Column `at.line` of a result, y.
    template <class Space, class View, class Numbers>
    static SOFTDIFF_INLINE void columns_out(const CombineParams& p, const typename Square::Place& at, View tile,
                                            Numbers numbers, T* y) {
        SOFTDIFF_ROLLED
        for (int term = 0; term < kTerms; ++term) {
            if (!p.pixel[term]) continue;
            const T number = numbers[term];
            for_column<Space, T, N>(p.task.term[term], p.task.dtype, at, [&](int i, T value) { y[i] += number * value; });
        }
        if (p.pixel_noise) {
            Square::put_all(Square::column(tile, at.line), y);
        } else {
            write_column<Space, T, N>(p.task.out, p.task.dtype, at, y);
        }
    }

    // Tile and noise to the result: the threads of a plane, neighbours on neighbouring pixels.
    template <class Space, class View, class Numbers>
    static SOFTDIFF_INLINE void add_noise(const CombineParams& p, const typename Square::Place& at, View tile,
                                          Numbers numbers) {
        const std::int64_t begin = at.plane * (N * N);
        const T gain = numbers[2];
        const typename Square::Quads quads(begin, N * N);
        for_quads<T>(quads, seed_of<Space>(p.task.seed), at.line, N, [&](int first, auto draw) {
            const NormalQuad<T> noise = draw();
            T value[4];
            SOFTDIFF_UNROLL
            for (int k = 0; k < 4; ++k) {
                const int position = first + k * kNormalLanes;
                if (quads.has(position)) value[k] = static_cast<T>(tile[Square::place(position)]) + gain * noise.value[k];
            }
            store_quad<Space>(p.task.out, p.task.dtype, begin, quads, first, value);
        });
    }
};

// V (alpha^power . V^T x), and pixel terms: blur and diffuse, forward and backward.
template <int N, class T>
struct SquareLevel {
    using Square = SquarePlane<N, T>;
    using End = SquareEnd<N, T>;
    using Params = CombineParams;
    static constexpr const char* kName = "level, square planes";
    static constexpr int kMostPhases = 0;
    static constexpr int kMaxThreads = Square::kThreads, kMinBlocks = Square::kBlocksOfOneTile;
    static constexpr int kTable = N + kConstants + kTerms + 1;  // decay (rows and columns have the same), constants, numbers

    static bool takes(const Params& p) {
        return p.task.kind == GainKind::kLevel && p.spectral_terms == 1 && p.spectral[0] && !p.spectral_noise;
    }
    static LaunchShape shape(Params& p) {
        p.planes_per_block = Square::planes_per_block(Square::kTile + kTable);
        return Square::shape(p.planes, p.planes_per_block, Square::kTile + kTable);
    }
    static SOFTDIFF_INLINE int phases(const Params& p) { return p.pixel_noise ? 4 : 3; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const typename Square::Place at(where, p.planes, p.channels_apart, p.planes_per_block);
        if (at.idle) return;
        auto tiles = Space::template shared<T>(shared, 0);
        using View = decltype(tiles);
        View tile = tiles + at.q * Square::kTile, table = tiles + (Square::planes(p) * Square::kTile + at.q * kTable);
        const GainTables<View> tables{table, table, table, table, table, table, table + N, table + (N + kConstants)};
        if (i == 3) return End::template add_noise<Space>(p, at, tile, tables.numbers);
        const auto column = Square::column(tile, at.line), row = Square::row(tile, at.line);
        T x[N], y[N];
        if (i == 2) {
            Square::get_all(column, y);
        } else {
            if (i == 0) {
                const double tau = field_at<Space>(p.task.t.field[1], at.b);
                read_column<Space, T, N>(p.task.term[0], p.task.dtype, at, x);
                tables.row_decay[at.line] = decay_of<T>(at.line, N, tau);
                if (at.line == 0) fill_level<Space, T>(p, at.b, tables);
            } else {
                Square::get_all(row, x);
            }
            Square::dct2(x, y);
            if (i == 0) return Square::put_all(column, y);
            const LevelGains<N, T> gains(p, tables.row_decay[at.line], tables.constants[0], tables.constants[1]);
            SOFTDIFF_UNROLL
            for (int k = 0; k < N; ++k) y[k] = gains(y[k], tables.column_decay[k]);
        }
        Square::inverse(y, x);
        if (i == 1) return Square::put_all(row, x);
        End::template columns_out<Space>(p, at, tile, tables.numbers, x);
    }
};

// Every other combination: up to three images with gains of their own, noise drawn in the DCT basis.
template <int N, class T>
struct SquareCombine {
    using Square = SquarePlane<N, T>;
    using End = SquareEnd<N, T>;
    using Params = CombineParams;
    static constexpr const char* kName = "combine, square planes";
    static constexpr int kMostPhases = 0;
    static constexpr int kMaxThreads = Square::kThreads, kMinBlocks = Square::kBlocks;
    static constexpr int kTable = 3 * N + kConstants + kTerms + 1;  // decay, fade and rest, constants, numbers

    static SOFTDIFF_INLINE int tiles_of(const Params& p) { return p.spectral_terms > 1 ? p.spectral_terms : 1; }
    static bool takes(const Params& p) { return Square::planes_per_block(tiles_of(p) * Square::kTile + kTable) > 0; }
    static LaunchShape shape(Params& p) {
        const int values = tiles_of(p) * Square::kTile + kTable;
        p.planes_per_block = Square::planes_per_block(values);
        return Square::shape(p.planes, p.planes_per_block, values);
    }
    static SOFTDIFF_INLINE int phases(const Params& p) { return p.pixel_noise ? 6 : 5; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const typename Square::Place at(where, p.planes, p.channels_apart, p.planes_per_block);
        if (at.idle) return;
        const int tiles_per_plane = tiles_of(p);
        auto tiles = Space::template shared<T>(shared, 0);
        using View = decltype(tiles);
        View tile = tiles + at.q * tiles_per_plane * Square::kTile;
        View table = tiles + (Square::planes(p) * tiles_per_plane * Square::kTile + at.q * kTable);
        const GainTables<View> tables{table,     table + N,     table + 2 * N, table,
                                      table + N, table + 2 * N, table + 3 * N, table + (3 * N + kConstants)};
        if (i == 2) return mix<Space>(p, at, tile, tables);
        if (i == 5) return End::template add_noise<Space>(p, at, tile, tables.numbers);
        T x[N], y[N];
        if (i <= 1) {
            if (i == 0) fill<Space>(p, at, tables);
            View to = tile;
            SOFTDIFF_ROLLED
            for (int term = 0; term < kTerms; ++term) {
                if (!p.spectral[term]) continue;
                if (i == 0) {
                    read_column<Space, T, N>(p.task.term[term], p.task.dtype, at, x);
                } else {
                    Square::get_all(Square::row(to, at.line), x);
                }
                Square::dct2(x, y);
                if (i == 0) {
                    Square::put_all(Square::column(to, at.line), y);
                } else {
                    Square::put_all(Square::row(to, at.line), y);
                }
                to = to + Square::kTile;
            }
            return;
        }
        const auto column = Square::column(tile, at.line), row = Square::row(tile, at.line);
        if (i == 3) {
            Square::get_all(row, y);
        } else {
            Square::get_all(column, y);
        }
        Square::inverse(y, x);
        if (i == 3) return Square::put_all(row, x);
        End::template columns_out<Space>(p, at, tile, tables.numbers, x);
    }

  private:
    template <class Space, class View>
    static SOFTDIFF_INLINE void fill(const Params& p, const typename Square::Place& at, const GainTables<View>& tables) {
        const Level t = level_at<Space>(p.task.t, at.b), s = level_at<Space>(p.task.s, at.b);
        fill_axis<T>(
            p.task, s, t, N, N, at.line, N, [](int k) { return k; }, tables.row_decay, tables.row_fade, tables.row_rest);
        if (at.line == 0) fill_constants<Space, T>(p, at.b, at.c, tables);
    }

    // The gains of all terms, and the noise, into the first tile.
    template <class Space, class View>
    static SOFTDIFF_INLINE void mix(const Params& p, const typename Square::Place& at, View tile,
                                    const GainTables<View>& tables) {
        using Mixer = FrequencyMixer<N, Space, T, View>;
        const Mixer mixer(p, tables, at.b, at.c, Square::kTile);
        const bool draws = p.spectral_noise;
        const typename Square::Quads quads(at.plane * (N * N), N * N);
        for_quads<T>(quads, draws ? seed_of<Space>(p.task.seed) : 0, at.line, N, [&](int first, auto draw) {
            NormalQuad<T> noise{};
            if (draws) noise = draw();
            mixer.quad(
                tile,
                [&](int k) -> typename Mixer::At {
                    const int position = first + k * kNormalLanes, h = Square::row_of(position),
                              w = Square::column_of(position);
                    return {quads.has(position), h, w, h, w, Square::place(position)};
                },
                noise);
        });
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

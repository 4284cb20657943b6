// Combinations of square planes (square.hpp).
//
//   columns in    C2 of the columns, straight from the images to a tile
//   rows          C2, gains, C3 of a row in registers (a level's blur), or apart with the gains and the noise in between, where
//                 neighbouring threads work on neighbouring frequencies
//   columns out   C3 of the columns to the result; through the tile where something is added in pixel space
//
// 8 bytes a pixel move through global memory (float32, one image), and 5 times 4 through shared memory: the tile
// twice in and twice out, and the decays.
#pragma once

#include "square.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// The end of both combinations below: columns out, and what is added in pixel space.
template <int N, class T>
struct SquareEnd {
    using Square = SquarePlane<N, T>;

    static SOFTDIFF_INLINE bool adds_pixels(const CombineParams& p) { return p.pixel_terms > 0 || p.pixel_noise; }

    template <class Space, class View>
    static SOFTDIFF_INLINE void columns_out(const CombineParams& p, const typename Square::Place& at, View tile) {
        T y[N];
        Square::Codes::dct3(Square::column(tile, at.line), Values<T>{y});
        if (adds_pixels(p)) {
            Square::put_all(Square::column(tile, at.line), y);
        } else {
            write_column<Space, T, N>(p.task.out, p.task.dtype, at, y);
        }
    }

    // Tile, pixel terms and noise to the result: the threads of a plane, neighbours on neighbouring pixels.
    template <class Space, class View>
    static SOFTDIFF_INLINE void add_pixels(const CombineParams& p, const typename Square::Place& at, View tile, View numbers) {
        const std::int64_t begin = at.plane * (N * N);
        const T noise_gain = p.pixel_noise ? static_cast<T>(numbers[2]) : T(0);
        const PlaneOffsets offsets(p, at.b, at.c);
        const auto read_terms = [&](auto take) {
            with_word<T>(p.task.dtype, [&](auto as) {
                take([&](std::int64_t e) {
                    const auto local = static_cast<int>(e - begin);
                    return pixel_terms<Space, T, typename decltype(as)::Type>(p, numbers, offsets, local / N, local % N);
                });
            });
        };
        for_each_element<Space, T, T>(p, p.pixel_noise, begin, begin + N * N, at.line, N, read_terms,
                                      [&](std::int64_t e, T n, T added) {
                                          const auto local = static_cast<int>(e - begin);
                                          T value = static_cast<T>(tile[local / N * Square::kStride + local % N]) + added;
                                          if (p.pixel_noise) value += noise_gain * n;
                                          store_at<Space>(p.task.out, p.task.dtype, e, value);
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
    static constexpr int kMostPhases = 4;
    static constexpr int kMaxThreads = Square::kThreads, kMinBlocks = Square::kBlocks;
    static constexpr int kTable = N + kConstants + kTerms + 1;  // decay (rows and columns have the same), constants, numbers

    static bool takes(const Params& p) {
        return p.task.kind == GainKind::kLevel && p.spectral_terms == 1 && p.spectral[0] && !p.spectral_noise;
    }
    static LaunchShape shape(Params& p) {
        p.planes_per_block = Square::planes_per_block(Square::kTile + kTable);
        return Square::shape(p.planes, p.planes_per_block, Square::kTile + kTable);
    }
    static SOFTDIFF_INLINE int phases(const Params& p) { return End::adds_pixels(p) ? kMostPhases : 3; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const typename Square::Place at(where, p.planes, p.task.channels, p.planes_per_block);
        if (at.idle) return;
        auto tiles = Space::template shared<T>(shared, 0);
        using View = decltype(tiles);
        View tile = tiles + at.q * Square::kTile, table = tiles + (p.planes_per_block * Square::kTile + at.q * kTable);
        const GainTables<View> tables{table, table, table, table, table + N, table + (N + kConstants)};
        switch (i) {
            case 0: {
                const double tau = field_at<Space>(p.task.t.field[1], at.b);
                tables.row_decay[at.line] = decay_of<T>(at.line, N, tau);
                if (at.line == 0) fill_level<Space, T>(p, at.b, tables);
                T x[N];
                read_column<Space, T, N>(p.task.term[0], p.task.dtype, at, x);
                Square::Codes::dct2(Values<T>{x}, Square::column(tile, at.line));
                break;
            }
            case 1: {
                const bool squared = p.task.power == 2;
                const T scale = row_scale(at.line, squared);
                const T slope = static_cast<T>(tables.row_decay[at.line]) * static_cast<T>(tables.constants[0]) * scale;
                const T flat = static_cast<T>(tables.constants[1]) * scale;
                T y[N];
                Square::Codes::dct2(Square::row(tile, at.line), Gained<View>{y, tables.column_decay, slope, flat, squared});
                Square::Codes::dct3(Values<T>{y}, Square::row(tile, at.line));
                break;
            }
            case 2: End::template columns_out<Space>(p, at, tile); break;
            default: End::template add_pixels<Space>(p, at, tile, tables.numbers);
        }
    }

  private:
    // The weights of a row (2 / N of the columns times that of the row), or their root where alpha is taken twice: in alpha
    // they cost a product a row, not two a coefficient. The first coefficient of a row has half of them.
    static SOFTDIFF_INLINE T row_scale(int line, bool squared) {
        constexpr double kOther = Square::root(2.0 / N * 2.0 / N), kFirst = Square::root(2.0 / N * 1.0 / N);
        if (squared) return static_cast<T>(line == 0 ? kFirst : kOther);
        return static_cast<T>(2.0 / N) * Square::weight(line);
    }

    // Coefficients of a row, times their gains.
    template <class View>
    struct Gained {
        T* y;
        View column_decay;
        T slope, flat;
        bool squared;
        SOFTDIFF_INLINE void put(int k, T value) const {
            const T alpha = slope * static_cast<T>(column_decay[k]) + flat;
            value *= alpha;
            if (squared) value *= alpha;
            y[k] = k == 0 ? value * T(0.5) : value;
        }
    };
};

// Every other combination: up to three images with gains of their own, noise drawn in the DCT basis.
template <int N, class T>
struct SquareCombine {
    using Square = SquarePlane<N, T>;
    using End = SquareEnd<N, T>;
    using Params = CombineParams;
    static constexpr const char* kName = "combine, square planes";
    static constexpr int kMostPhases = 6;
    static constexpr int kMaxThreads = Square::kThreads, kMinBlocks = Square::kBlocks;
    static constexpr int kTable = 2 * N + kConstants + kTerms + 1;  // decay and fade, constants, numbers

    static SOFTDIFF_INLINE int tiles_of(const Params& p) { return p.spectral_terms > 1 ? p.spectral_terms : 1; }
    static bool takes(const Params& p) { return Square::planes_per_block(tiles_of(p) * Square::kTile + kTable) > 0; }
    static LaunchShape shape(Params& p) {
        const int values = tiles_of(p) * Square::kTile + kTable;
        p.planes_per_block = Square::planes_per_block(values);
        return Square::shape(p.planes, p.planes_per_block, values);
    }
    static SOFTDIFF_INLINE int phases(const Params& p) { return End::adds_pixels(p) ? kMostPhases : 5; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const typename Square::Place at(where, p.planes, p.task.channels, p.planes_per_block);
        if (at.idle) return;
        const int tiles_per_plane = tiles_of(p);
        auto tiles = Space::template shared<T>(shared, 0);
        using View = decltype(tiles);
        View tile = tiles + at.q * tiles_per_plane * Square::kTile;
        View table = tiles + (p.planes_per_block * tiles_per_plane * Square::kTile + at.q * kTable);
        const GainTables<View> tables{table, table + N, table, table + N, table + 2 * N, table + (2 * N + kConstants)};
        switch (i) {
            case 0: {
                fill<Space>(p, at, tables);
                View to = tile;
                for (int term = 0; term < kTerms; ++term) {
                    if (!p.spectral[term]) continue;
                    T x[N];
                    read_column<Space, T, N>(p.task.term[term], p.task.dtype, at, x);
                    Square::Codes::dct2(Values<T>{x}, Square::column(to, at.line));
                    to = to + Square::kTile;
                }
                break;
            }
            case 1:
                for (int n = 0; n < p.spectral_terms; ++n)
                    Square::dct2_in_place(Square::row(tile + n * Square::kTile, at.line));
                break;
            case 2: mix<Space>(p, at, tile, tables); break;
            case 3: Square::dct3_in_place(Square::row(tile, at.line)); break;
            case 4: End::template columns_out<Space>(p, at, tile); break;
            default: End::template add_pixels<Space>(p, at, tile, tables.numbers);
        }
    }

  private:
    template <class Space, class View>
    static SOFTDIFF_INLINE void fill(const Params& p, const typename Square::Place& at, const GainTables<View>& tables) {
        const Level t = level_at<Space>(p.task.t, at.b), s = level_at<Space>(p.task.s, at.b);
        fill_axis<T>(p.task, s, t, N, N, at.line, N, [](int k) { return k; }, tables.row_decay, tables.row_fade);
        if (at.line == 0) fill_constants<Space, T>(p, at.b, at.c, tables);
    }

    // The gains of all terms, and the noise, into the first tile.
    template <class Space, class View>
    static SOFTDIFF_INLINE void mix(const Params& p, const typename Square::Place& at, View tile,
                                    const GainTables<View>& tables) {
        const std::int64_t begin = at.plane * (N * N);
        const PlaneGains<Space, T, View> gains(p, tables);
        using Gain = StepCoefficients<T>;
        const bool mapped = p.task.kind == GainKind::kMap;
        const auto read_map = [&](auto take) {
            if (!mapped) return;
            take([&](std::int64_t e) {
                const auto local = static_cast<int>(e - begin);
                return gains.template of_kind<GainKind::kMap>(at.b, at.c, local / N, local % N, 0, 0);
            });
        };
        for_each_element<Space, T, Gain>(p, p.spectral_noise, begin, begin + N * N, at.line, N, read_map,
                                         [&](std::int64_t e, T n, Gain own) {
                                             const auto local = static_cast<int>(e - begin);
                                             const int h = local / N, w = local % N;
                                             View here = tile + (h * Square::kStride + w);
                                             const Gain gain = mapped ? own : gains.computed(h, w);
                                             const T of_term[kTerms] = {gain.p, gain.q, gain.w};
                                             T sum = 0;
                                             int next = 0;
                                             SOFTDIFF_UNROLL
                                             for (int term = 0; term < kTerms; ++term)
                                                 if (p.spectral[term])
                                                     sum += of_term[term] * static_cast<T>(here[next++ * Square::kTile]);
                                             sum *= Square::weight(h) * Square::weight(w);
                                             if (p.spectral_noise)
                                                 sum += gain.w * (Square::root_weight(h) * Square::root_weight(w)) * n;
                                             here[0] = sum;
                                         });
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

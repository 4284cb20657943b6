// One phase of the transform of all lines of a tile, in place (line_tables.hpp has the order of the phases). A tile lies in
// shared or in global memory; value p of line l is at l line_stride + p step. Neighbouring threads work on neighbouring lines
// where the lines lie side by side in memory, else on neighbouring positions.
#pragma once

#include <type_traits>

#include "../core/codelets.hpp"
#include "../core/radix.hpp"
#include "launch.hpp"
#include "line_tables.hpp"
#include "space.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// How `lines` times `items` pieces of work are shared out: neighbouring threads have neighbouring lines, or neighbouring items.
// `divider` divides by the number of what is neighbouring, which may be more than there is of it.
struct Work {
    Divider divider;
    bool lines_first;
    int lines, items;
};

// body(line, item)
template <class Body>
SOFTDIFF_INLINE void for_work(Where where, const Work& work, Body body) {
    const auto end = static_cast<std::uint32_t>(static_cast<std::int64_t>(work.divider.divisor) *
                                                (work.lines_first ? work.items : work.lines));
    for (std::uint32_t i = where.thread; i < end; i += where.threads) {
        const std::uint32_t slow = work.divider.divide(i), fast = i - slow * work.divider.divisor;
        const auto line = static_cast<int>(work.lines_first ? fast : slow),
                   item = static_cast<int>(work.lines_first ? slow : fast);
        if (line < work.lines) body(line, item);
    }
}

// The lines of a tile along one of its axes.
template <class View>
struct TileLines {
    View data;
    std::int64_t line_stride, step;
    int lines;            // that there are
    Divider lines_apart;  // by at least that number

    SOFTDIFF_INLINE View line(int l) const { return data + l * line_stride; }
    SOFTDIFF_INLINE Work work(std::int64_t items) const { return {lines_apart, true, lines, static_cast<int>(items)}; }
};

// body(std::integral_constant<int, R>{}) for the radix of a line, which is not 1.
template <class Body>
SOFTDIFF_INLINE void with_radix(int radix, Body body) {
    switch (radix) {
        case 2: return body(std::integral_constant<int, 2>{});
        case 4: return body(std::integral_constant<int, 4>{});
        case 8: return body(std::integral_constant<int, 8>{});
        default: return body(std::integral_constant<int, kMaxDeviceRadix>{});
    }
}

// The positions fold_position(j, i, n) that position i of a strip meets, `step` values apart in memory.
struct Fold {
    std::int64_t even, odd, jump;
    SOFTDIFF_INLINE Fold(int i, int n, std::int64_t step) : even(i * step), odd((2 * n - 1 - i) * step), jump(2 * n * step) {}
    SOFTDIFF_INLINE std::int64_t operator[](int j) const { return (j % 2 == 0 ? even : odd) + j / 2 * jump; }
};

// The rotations of one position as Radix reads them, `positions` apart: each is read at once.
template <class T, class View>
struct RotationView {
    View data;
    int positions;
    SOFTDIFF_INLINE RotationView operator+(int n) const {
        return {data + static_cast<std::int64_t>(n / kFactorsPerRotation) * positions, positions};
    }
};
template <class T, class View>
SOFTDIFF_INLINE Rotation<T> rotation_of(const RotationView<T, View>& rotations, int j) {
    return rotations.data[static_cast<std::int64_t>(j) * rotations.positions];
}

template <class Space, class T>
SOFTDIFF_INLINE auto rotations_at(const LineTables<T>& tables, int i) {
    auto rotations = Space::global(tables.split) + i;
    return RotationView<T, decltype(rotations)>{rotations, tables.size / tables.radix};
}

// Position i of a strip: load(j) gives the value at fold_position(j, i), put(j, value) takes element i of slot j.
template <class Space, int R, class T, class Load, class Put>
SOFTDIFF_INLINE void split_position(const LineTables<T>& tables, int i, Load load, Put put) {
    T v[R];
    SOFTDIFF_UNROLL
    for (int j = 0; j < R; ++j) v[j] = load(j);
    Radix<false, R>::split(v, rotations_at<Space>(tables, i));
    SOFTDIFF_UNROLL
    for (int j = 0; j < R; ++j) put(j, v[j]);
}
// The transpose.
template <class Space, int R, class T, class Load, class Put>
SOFTDIFF_INLINE void join_position(const LineTables<T>& tables, int i, Load load, Put put) {
    T v[R];
    SOFTDIFF_UNROLL
    for (int j = 0; j < R; ++j) v[j] = load(j);
    Radix<false, R>::join(v, rotations_at<Space>(tables, i));
    SOFTDIFF_UNROLL
    for (int j = 0; j < R; ++j) put(j, v[j]);
}

// split or join of a tile that is loaded.
template <class Space, bool Join, class T, class View>
SOFTDIFF_INLINE void fold_tile(const LineTables<T>& tables, const TileLines<View>& tile, Where where) {
    const int positions = tables.size / tables.radix;
    with_radix(tables.radix, [&](auto radix) {
        constexpr int kRadix = decltype(radix)::value;
        for_work(where, tile.work(positions), [&](int l, int i) {
            View line = tile.line(l);
            const Fold fold(i, positions, tile.step);
            const auto load = [&](int j) { return static_cast<T>(line[fold[j]]); };
            const auto put = [&](int j, T value) { line[fold[j]] = value; };
            if constexpr (Join) {
                join_position<Space, kRadix>(tables, i, load, put);
            } else {
                split_position<Space, kRadix>(tables, i, load, put);
            }
        });
    });
}

// One more level of the recursion, or its transpose: of all nodes of a level.
template <class Space, class T, class View>
SOFTDIFF_INLINE void halve_nodes(const LineTables<T>& tables, const TileLines<View>& tile, int level, bool transposed,
                                 Where where) {
    const int half = tables.half_length(level);
    const std::int64_t nodes = static_cast<std::int64_t>(tables.radix) << level;
    const auto node = Space::global(tables.nodes(level));
    const auto rotations = Space::global(tables.halving) + tables.halving_offset(level);
    for_work(where, tile.work(nodes * half), [&](int l, int item) {
        const int index = item / half, i = item - index * half;
        const NodePlace place = node[index];
        View line = tile.line(l);
        const std::int64_t first = (place.first + place.step * i) * tile.step;
        const std::int64_t last = (place.first + place.step * (2 * half - 1 - i)) * tile.step;
        T v[2] = {line[first], line[last]};
        const Rotation<T> rotation = rotations[i];
        if (place.dct4) {
            transposed ? Radix<true, 2>::join(v, rotation.factor) : Radix<true, 2>::split(v, rotation.factor);
        } else {
            transposed ? Radix<false, 2>::join(v, rotation.factor) : Radix<false, 2>::split(v, rotation.factor);
        }
        line[first] = v[0];
        line[last] = v[1];
    });
}

// C2 (or C3, `inverse`) or C4 of a slot whose leaf has a codelet: all of it is read before any of it is written.
template <int N, class T, class View>
SOFTDIFF_INLINE void leaf_in_place(Line<T, View> from, Line<T, View> to, LeafKind kind) {
    T x[N];
    SOFTDIFF_UNROLL
    for (int i = 0; i < N; ++i) x[i] = from[i];
    switch (kind) {
        case LeafKind::kDct2: return Codelet<T, T, N>::dct2(Values<T>{x}, to);
        case LeafKind::kDct3: return Codelet<T, T, N>::dct3(Values<T>{x}, to);
        default: return Codelet<T, T, N>::dct4(Values<T>{x}, to);
    }
}

template <class Space, class T, class View>
SOFTDIFF_INLINE void codelet_leaves(const LineTables<T>& tables, const TileLines<View>& tile, bool inverse, Where where) {
    const auto slot = Space::global(tables.nodes(tables.halvings));
    for_work(where, tile.work(tables.slots), [&](int l, int index) {
        const NodePlace place = slot[index];
        const LeafKind kind = place.dct4 ? LeafKind::kDct4 : inverse ? LeafKind::kDct3 : LeafKind::kDct2;
        View line = tile.line(l);
        const auto stride = static_cast<int>(tile.step);
        const Line<T, View> folded{line + place.first * tile.step, place.step * stride},
            straight{line + place.low * tile.step, stride};
        const Line<T, View> from = inverse ? straight : folded, to = inverse ? folded : straight;
        switch (tables.leaf) {
            case 16: return leaf_in_place<16>(from, to, kind);
            case 18: return leaf_in_place<18>(from, to, kind);
            case 20: return leaf_in_place<20>(from, to, kind);
            case 22: return leaf_in_place<22>(from, to, kind);
            case 24: return leaf_in_place<24>(from, to, kind);
            case 26: return leaf_in_place<26>(from, to, kind);
            case 28: return leaf_in_place<28>(from, to, kind);
            case 30: return leaf_in_place<30>(from, to, kind);
            default: return leaf_in_place<kMaxLeafCodelet>(from, to, kind);
        }
    });
}

// Odd leaves, dense, from one tile to another of the same form: a thread makes kOutputs entries of the half DFT of two lines,
// so that a value read serves kOutputs products and a cosine two.
constexpr int kOddOutputs = 6, kOddLines = 2;

SOFTDIFF_INLINE int odd_output_groups(int leaf) { return (leaf / 2 + kOddOutputs) / kOddOutputs; }

template <class Space, class T, class View>
SOFTDIFF_INLINE void odd_leaves(const LineTables<T>& tables, const TileLines<View>& source, View target,
                                const Divider& line_pairs, bool inverse, Where where) {
    const int n = tables.leaf, h = n / 2;
    const int groups = odd_output_groups(n);
    const auto slot = Space::global(tables.nodes(tables.halvings));
    const auto circle = Space::global(tables.circle);
    const auto apart = static_cast<int>(line_pairs.divisor);  // the second line of a thread is so much further on
    const Work work{line_pairs, true, source.lines, tables.slots * groups};
    for_work(where, work, [&](int l, int item) {
        const int index = item / groups, first_output = (item - index * groups) * kOddOutputs;
        const NodePlace place = slot[index];
        const int kind = place.dct4 ? 2 : inverse ? 1 : 0;
        const auto in = Space::global(tables.odd_in[kind]);
        const auto out = Space::global(tables.odd_out[kind]);
        const std::int64_t folded = place.first * source.step, folded_step = place.step * source.step;
        const std::int64_t straight = place.low * source.step;
        const std::int64_t from = inverse ? straight : folded, from_step = inverse ? source.step : folded_step;
        const std::int64_t to = inverse ? folded : straight, to_step = inverse ? folded_step : source.step;
        const bool second = l + apart < source.lines;
        const std::int64_t to_second = second ? apart * source.line_stride : 0;
        const View x = source.line(l) + from;

        T cosine_sum[kOddLines][kOddOutputs], sine_sum[kOddLines][kOddOutputs];
        int turn[kOddOutputs];  // of output q at input j: j q mod n
        const std::int64_t middle = OddEntry<T>(in[0]).a * from_step;
        SOFTDIFF_UNROLL
        for (int q = 0; q < kOddOutputs; ++q) {
            cosine_sum[0][q] = x[middle];
            cosine_sum[1][q] = x[middle + to_second];
            sine_sum[0][q] = sine_sum[1][q] = T(0);
            turn[q] = 0;
        }
        for (int j = 1; j <= h; ++j) {
            const OddEntry<T> entry = in[j];
            T c[kOddLines], d[kOddLines];
            SOFTDIFF_UNROLL
            for (int s = 0; s < kOddLines; ++s) {
                const T p = x[entry.a * from_step + s * to_second], q = x[entry.b * from_step + s * to_second];
                c[s] = entry.factor[0] * p + entry.factor[1] * q;
                d[s] = entry.factor[2] * p + entry.factor[3] * q;
            }
            SOFTDIFF_UNROLL
            for (int q = 0; q < kOddOutputs; ++q) {
                turn[q] += first_output + q;
                turn[q] -= turn[q] >= n ? n : 0;
                const CirclePoint<T> point = circle[turn[q]];
                SOFTDIFF_UNROLL
                for (int s = 0; s < kOddLines; ++s) {
                    cosine_sum[s][q] += c[s] * point.cosine;
                    sine_sum[s][q] += d[s] * point.sine;
                }
            }
        }
        const View y = target + (l * source.line_stride + to);
        SOFTDIFF_UNROLL
        for (int q = 0; q < kOddOutputs; ++q) {
            if (first_output + q > h) continue;
            const OddEntry<T> entry = out[first_output + q];
            SOFTDIFF_UNROLL
            for (int s = 0; s < kOddLines; ++s) {
                if (s == 1 && !second) continue;
                y[entry.a * to_step + s * to_second] = entry.factor[0] * cosine_sum[s][q] + entry.factor[1] * sine_sum[s][q];
                if (entry.b >= 0)
                    y[entry.b * to_step + s * to_second] =
                        entry.factor[2] * cosine_sum[s][q] + entry.factor[3] * sine_sum[s][q];
            }
        }
    });
}

// The butterflies of one level; they are their own transpose.
template <class Space, class T, class View>
SOFTDIFF_INLINE void butterflies(const LineTables<T>& tables, const TileLines<View>& tile, int level, Where where) {
    const auto pair = Space::global(tables.pair) + tables.level_first[level];
    const int pairs = tables.level_first[level + 1] - tables.level_first[level];
    for_work(where, tile.work(pairs), [&](int l, int index) {
        const OutputPair at = pair[index];
        if (at.b < 0) return;
        View line = tile.line(l);
        const T a = line[at.a * tile.step], b = line[at.b * tile.step];
        line[at.a * tile.step] = a + b;
        line[at.b * tile.step] = a - b;
    });
}

// Pairs of the last level that a thread handles one after the other: finding its place costs as much as one of them.
constexpr int kPairsAtOnce = 4;

// body(line, pair of outputs) for the last level.
template <class Space, class T, class View, class Body>
SOFTDIFF_INLINE void for_last_pairs(const LineTables<T>& tables, const TileLines<View>& tile, Where where, Body body) {
    const auto pair = Space::global(tables.pair) + tables.level_first[tables.levels - 1];
    const auto pairs = static_cast<int>(tables.last_pairs.divisor);
    for_work(where, tile.work((pairs + kPairsAtOnce - 1) / kPairsAtOnce), [&](int l, int item) {
        View line = tile.line(l);
        SOFTDIFF_UNROLL
        for (int k = 0; k < kPairsAtOnce; ++k) {
            const int index = item * kPairsAtOnce + k;
            if (index < pairs) body(l, line, static_cast<OutputPair>(pair[index]));
        }
    });
}

// The last level on the way out of the tile: put(line, position, value).
template <class Space, class T, class View, class Put>
SOFTDIFF_INLINE void last_butterflies_out(const LineTables<T>& tables, const TileLines<View>& tile, Where where, Put put) {
    const auto step = static_cast<int>(tile.step);
    for_last_pairs<Space>(tables, tile, where, [&](int l, View line, OutputPair at) {
        const T a = line[at.a * step];
        if (at.b < 0) return put(l, at.a, a);
        const T b = line[at.b * step];
        put(l, at.a, a + b);
        put(l, at.b, a - b);
    });
}
// And on the way in: get(line, position).
template <class Space, class T, class View, class Get>
SOFTDIFF_INLINE void last_butterflies_in(const LineTables<T>& tables, const TileLines<View>& tile, Where where, Get get) {
    const auto step = static_cast<int>(tile.step);
    for_last_pairs<Space>(tables, tile, where, [&](int l, View line, OutputPair at) {
        const T a = get(l, at.a), b = at.b < 0 ? T(0) : get(l, at.b);
        line[at.a * step] = a + b;
        if (at.b >= 0) line[at.b * step] = a - b;
    });
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

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
    // Blocks of an SM that registers must allow: 168 registers a thread for 128, 128 for 64; with one tile a plane 72 for 32.
    static constexpr int kBlocks = N >= 128 ? 3 : N >= 64 ? 4 : 6;
    static constexpr int kBlocksOfOneTile = N >= 128 ? 3 : N >= 64 ? 4 : N == 28 ? 6 : 7;
    using Codes = Codelet<T, T, N>;
    using Quads = softdiff::Quads<N * N % kNormalBlock == 0>;  // of the pixels of a plane (mix.hpp)

    // The roots of the weights 1 / N and 2 / N that make C2 and C3 inverse to each other.
    static SOFTDIFF_INLINE T root_weight(int k) {
        constexpr double kFirst = root(1.0 / N), kOther = root(2.0 / N);
        return static_cast<T>(k == 0 ? kFirst : kOther);
    }

    // Where a thread works: plane q of the block, line l.
    struct Place {
        int q, line, planes;  // planes: how many the block has
        std::int64_t plane, b, c;
        bool idle;

        SOFTDIFF_INLINE Place(Where where, std::int64_t all, const Divider& channels_apart, int planes_per_block)
            : q(kPlanes == 1 ? 0 : static_cast<int>(static_cast<unsigned>(where.thread) / N)),
              line(kPlanes == 1 ? where.thread : static_cast<int>(static_cast<unsigned>(where.thread) % N)) {
            const auto first = static_cast<std::uint32_t>(where.block) * static_cast<std::uint32_t>(planes_per_block);
            const std::uint32_t left = static_cast<std::uint32_t>(all) - first;
            const std::uint32_t index = first + static_cast<std::uint32_t>(q), sample = channels_apart.divide(index);
            planes = left < static_cast<std::uint32_t>(planes_per_block) ? static_cast<int>(left) : planes_per_block;
            plane = index;
            b = sample;
            c = index - sample * channels_apart.divisor;
            idle = q >= planes;
        }
    };
    static LaunchShape shape(std::int64_t planes, int planes_per_block, int values_per_plane) {
        return {ceil_of(planes, planes_per_block), N * planes_per_block,
                planes_per_block * values_per_plane * static_cast<int>(sizeof(T))};
    }
    static SOFTDIFF_INLINE int planes(const CombineParams& p) { return kPlanes == 1 ? 1 : p.planes_per_block; }
    // As many planes as fit, up to kPlanes.
    static int planes_per_block(int values_per_plane) {
        return std::min(kPlanes, kMaxSharedBytes / (values_per_plane * static_cast<int>(sizeof(T))));
    }

    // Of a position among the pixels of a plane, row by row: its row, its column, its place in a tile.
    static SOFTDIFF_INLINE int row_of(int position) { return static_cast<int>(static_cast<unsigned>(position) / N); }
    static SOFTDIFF_INLINE int column_of(int position) { return static_cast<int>(static_cast<unsigned>(position) % N); }
    static SOFTDIFF_INLINE int place(int position) { return row_of(position) * kStride + column_of(position); }

    template <class View>
    static SOFTDIFF_INLINE Line<T, View> column(View tile, int w) {
        return {tile + w, kStride};
    }
    template <class View>
    static SOFTDIFF_INLINE Line<T, View> row(View tile, int h) {
        return {tile + h * kStride, 1};
    }

    // C2 and C3 of a line of values: two phases each need them, and their code is there once (square_combine.hpp).
    static SOFTDIFF_INLINE void dct2(const T* x, T* y) { Codes::dct2(Values<const T>{x}, Values<T>{y}); }
    static SOFTDIFF_INLINE void dct3(const T* x, T* y) { Codes::dct3(Values<const T>{x}, Values<T>{y}); }
    // C3 with the half of the weight that only the first coefficient has: what is before it leaves that out.
    static SOFTDIFF_INLINE void inverse(T* y, T* x) {
        y[0] *= T(0.5);
        dct3(y, x);
    }
    template <class View>
    static SOFTDIFF_INLINE void get_all(Line<T, View> line, T* x) {
        SOFTDIFF_UNROLL
        for (int k = 0; k < N; ++k) x[k] = line[k];
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

// The gains of a row of a level, alpha^power, times the weights of an N x N plane (SquarePlane::inverse has the rest of them):
// in alpha, or their root where it is taken twice, they cost a product a row, not a coefficient.
template <int N, class T>
struct LevelGains {
    T slope, flat;
    bool squared;

    SOFTDIFF_INLINE LevelGains(const CombineParams& p, T row_decay, T heat, T floor) : squared(p.task.power == 2) {
        const T scale = static_cast<T>(squared ? 2.0 / N : 4.0 / (N * N));
        slope = row_decay * heat * scale;
        flat = floor * scale;
    }
    SOFTDIFF_INLINE T operator()(T coefficient, T column_decay) const {
        const T alpha = slope * column_decay + flat;
        return squared ? coefficient * alpha * alpha : coefficient * alpha;
    }
};

// What stands between the transforms of an N x N plane for a step or maps of gains: the coefficients of a result from those of
// the transformed images and from noise.
template <int N, class Space, class T, class View>
struct FrequencyMixer {
    using Square = SquarePlane<N, T>;
    const CombineParams& p;
    GainTables<View> tables;
    StepConstants<T> step;
    std::int64_t b, c;
    int tile[kTerms];  // where the coefficients of a term are, from those of the first that is transformed on

    SOFTDIFF_INLINE FrequencyMixer(const CombineParams& params, const GainTables<View>& of, std::int64_t sample,
                                   std::int64_t channel, int apart)
        : p(params), tables(of), step{}, b(sample), c(channel), tile{} {
        if (p.task.kind == GainKind::kStep) step = get_step<T>(tables.constants, p.task.rule, p.task.prediction);
        int next = 0;
        SOFTDIFF_UNROLL
        for (int term = 0; term < kTerms; ++term) {
            tile[term] = next;
            if (p.spectral[term]) next += apart;
        }
    }

    // A quad: coefficient k, where there is one (`has`), is that of frequency (h, w), whose factors are entries i and j of the
    // tables, and lies at `place` of a tile.
    struct At {
        bool has;
        int h, w, i, j, place;
    };
    template <class Locate>
    SOFTDIFF_INLINE void quad(View tiles, Locate locate, const NormalQuad<T>& noise) const {
        using Quad = Four<T>;
        At at[4];
        SOFTDIFF_UNROLL
        for (int k = 0; k < 4; ++k) at[k] = locate(k);
        const StepCoefficients<Quad> gain = gains(at);
        const Quad of_term[kTerms] = {gain.p, gain.q, gain.w};
        Quad sum;
        SOFTDIFF_UNROLL
        for (int term = 0; term < kTerms; ++term)
            if (p.spectral[term])
                sum = sum + of_term[term] * each(at, [&](int k) { return static_cast<T>(tiles[at[k].place + tile[term]]); });
        sum = sum * Quad(static_cast<T>(4.0 / (N * N)));
        if (p.spectral_noise) {
            constexpr double kTwice = Square::root(2.0), kBoth = 2.0;  // SquarePlane::inverse halves what is first in a line
            SOFTDIFF_UNROLL
            for (int k = 0; k < 4; ++k) {
                const double first = (at[k].h == 0) != (at[k].w == 0) ? kTwice : at[k].h == 0 ? kBoth : 1.0;
                sum.value[k] += gain.w.value[k] * (static_cast<T>(2.0 / N * first) * noise.value[k]);
            }
        }
        SOFTDIFF_UNROLL
        for (int k = 0; k < 4; ++k)
            if (at[k].has) tiles[at[k].place] = sum.value[k];
    }

  private:
    template <class Body>
    static SOFTDIFF_INLINE Four<T> each(const At* at, Body body) {
        return Four<T>::of([&](int k) { return at[k].has ? body(k) : T(0); });
    }

    SOFTDIFF_INLINE StepCoefficients<Four<T>> gains(const At* at) const {
        using Quad = Four<T>;
        if (p.task.kind == GainKind::kMap) {
            const auto map = [&](int term) {
                if (!p.spectral[term]) return Quad();
                const Image& image = p.task.map[term];
                const auto from = Space::global(static_cast<const T*>(image.data)) + plane_offset(image, b, c);
                return each(at, [&](int k) { return static_cast<T>(from[place_in_plane(image, at[k].h, at[k].w)]); });
            };
            return {map(0), map(1), map(2)};
        }
        const Quad decay = each(at, [&](int k) {
            return static_cast<T>(tables.row_decay[at[k].i]) * static_cast<T>(tables.column_decay[at[k].j]);
        });
        const Quad fade = each(at, [&](int k) {
            const T row = tables.row_fade[at[k].i], column = tables.column_fade[at[k].j];
            return row + column + row * column;
        });
        Quad rest = fade + Quad(1);
        if (needs_rest(p.task.prediction))
            rest = each(at, [&](int k) {
                return static_cast<T>(tables.row_rest[at[k].i]) * static_cast<T>(tables.column_rest[at[k].j]);
            });
        return step_coefficients<Quad, T>(step, decay, fade, rest, [](const Quad& v) { return root_of_positive(v); });
    }
};

// body(i, value i) of a column of an image. `at` is a Place.
template <class Space, class T, int N, class At, class Body>
SOFTDIFF_INLINE void for_column(const Image& image, Dtype dtype, const At& at, Body body) {
    const std::int64_t offset = plane_offset(image, at.b, at.c) + at.line * image.stride[3];
    const auto stride = static_cast<int>(image.stride[2]);
    with_input<Space, T>(image.data, dtype, offset, [&](auto from) {
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) body(i, widen(from[static_cast<std::int64_t>(i) * stride]));
    });
}
template <class Space, class T, int N, class At>
SOFTDIFF_INLINE void read_column(const Image& image, Dtype dtype, const At& at, T* x) {
    for_column<Space, T, N>(image, dtype, at, [&](int i, T value) { x[i] = value; });
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

// What lies between the transforms of a combination out = V sum_i (gain_i . V^T image_i): which terms need a transform at all,
// the gains of a plane, drawn noise, and the terms that are added to pixels.
//
// A term whose gain is one number for all frequencies ("pixel term") is added to the result in pixel space. Drawn noise is
// added to pixels where its gain is one number, and straight to the coefficients elsewhere (V^T n has the law of n).
#pragma once

#include "../core/normal.hpp"
#include "gain.hpp"
#include "launch.hpp"
#include "line_tables.hpp"
#include "stored.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Where a plane of an image begins.
SOFTDIFF_INLINE std::int64_t plane_offset(const Image& image, std::int64_t b, std::int64_t c) {
    return b * image.stride[0] + c * image.stride[1];
}
// Where a pixel is from there on: planes have less than 2^31 positions, and products of 64 bits take many instructions.
SOFTDIFF_INLINE int place_in_plane(const Image& image, int h, int w) {
    return h * static_cast<int>(image.stride[2]) + w * static_cast<int>(image.stride[3]);
}

struct CombineParams {
    cuda::Combine task;
    std::int64_t planes;    // batch * channels
    bool spectral[kTerms];  // the image is transformed
    bool pixel[kTerms];     // the image is added in pixel space
    int spectral_terms;     // how many are transformed
    int pixel_terms;
    bool spectral_noise, pixel_noise;  // drawn noise, and where it is added
    int planes_per_block;
    Divider channels_apart;           // of square planes: planes of a sample
    Divider area_apart, width_apart;  // of kernels without a transform: pixels of a plane, of a row
};

namespace detail {

inline bool is_zero(const cuda::LevelField& field) { return !field.data && field.number == 0.0; }

// Whether the gain of a term can differ between frequencies.
inline bool follows_frequency(const cuda::Combine& task, int term) {
    constexpr int kTau = 1;
    const bool no_blur = is_zero(task.t.field[kTau]) && (task.kind == GainKind::kLevel || is_zero(task.s.field[kTau]));
    switch (task.kind) {
        case GainKind::kMap: return task.map[term].stride[2] != 0 || task.map[term].stride[3] != 0;
        case GainKind::kLevel: return term == 0 && !no_blur;
        default: {
            const bool markov = task.rule == Rule::kMarkov;
            const bool plain = task.prediction == Prediction::kX || task.prediction == Prediction::kMean;
            return !no_blur && (term == 0 || markov || (term == 1 && !plain));
        }
    }
}

}  // namespace detail

inline CombineParams combine_params(const cuda::Combine& task) {
    CombineParams params{};
    params.task = task;
    params.planes = task.batch * task.channels;
    for (int i = 0; i < kTerms; ++i) {
        if (!task.term[i].data) continue;
        params.spectral[i] = detail::follows_frequency(task, i);
        params.pixel[i] = !params.spectral[i];
        params.spectral_terms += params.spectral[i] ? 1 : 0;
        params.pixel_terms += params.pixel[i] ? 1 : 0;
    }
    // Drawn noise has the gain of term 2. As in the CPU kernels the rule alone decides where it is drawn: noise drawn in the
    // DCT basis is other noise than that drawn in pixels, and the same call must draw the same on every device.
    const bool markov = task.kind == GainKind::kStep && task.rule == Rule::kMarkov;
    params.spectral_noise = task.draw_noise && markov;
    params.pixel_noise = task.draw_noise && !markov;
    return params;
}

// ---- gains --------------------------------------------------------------------------------------------------------------

// Shared memory of one plane: factors per row and per column (in the order of the transform's outputs), and what is the same
// for all frequencies. `numbers` are the gains of the pixel terms.
template <class View>
struct GainTables {
    View row_decay, row_fade, row_rest, column_decay, column_fade, column_rest;
    View constants;  // [kConstants]
    View numbers;    // [kTerms]
};

// `count` entries of the tables of one axis of n frequencies, by threads lane, lane + lanes, ...
template <class T, class View, class Frequency>
SOFTDIFF_INLINE void fill_axis(const cuda::Combine& task, const Level& s, const Level& t, int n, int count, int lane, int lanes,
                               Frequency frequency, View decay, View fade, View rest) {
    for (int i = lane; i < count; i += lanes) {
        const int k = frequency(i);
        if (task.kind == GainKind::kLevel) {
            decay[i] = decay_of<T>(k, n, t.tau);
        } else if (task.kind == GainKind::kStep) {
            decay[i] = decay_of<T>(k, n, s.tau);
            const Powers<T> powers = fade_of<T>(k, n, t.tau - s.tau);
            fade[i] = powers.minus_1;
            rest[i] = powers.power;
        }
    }
}

// The constants and pixel gains of a plane of sample b by one thread, where they are those of a level.
template <class Space, class T, class View>
SOFTDIFF_INLINE void fill_level(const CombineParams& p, std::int64_t b, GainTables<View> tables) {
    const Level t = level_at<Space>(p.task.t, b);
    const auto a = static_cast<T>(PowersTo<T>()(t.log_a).power);
    tables.constants[0] = a * static_cast<T>(1.0 - t.floor);
    tables.constants[1] = a * static_cast<T>(t.floor);
    tables.numbers[0] = p.task.power == 2 ? a * a : a;
    tables.numbers[2] = static_cast<T>(t.sigma);
}

// The same of sample b and channel c for gains of any kind.
template <class Space, class T, class View>
SOFTDIFF_OUTLINE void fill_constants(const CombineParams& p, std::int64_t b, std::int64_t c, GainTables<View> tables) {
    const cuda::Combine& task = p.task;
    if (task.kind == GainKind::kMap) {
        SOFTDIFF_UNROLL
        for (int i = 0; i < kTerms; ++i) {
            if (!p.pixel[i]) continue;
            const Image& map = task.map[i];
            tables.numbers[i] = Space::global(static_cast<const T*>(map.data))[b * map.stride[0] + c * map.stride[1]];
        }
        return;
    }
    if (task.kind == GainKind::kLevel) return fill_level<Space, T>(p, b, tables);
    const Level t = level_at<Space>(task.t, b), s = level_at<Space>(task.s, b);
    const StepConstants<T> k = make_step_constants<T>(s, t, task.rule, task.parameter, task.prediction, PowersTo<T>());
    put_step<T>(k, tables.constants);
    const StepCoefficients<T> flat = step_at<T>(k, T(1), T(1), {T(1), T(0)}, {T(1), T(0)});
    tables.numbers[0] = flat.p;
    tables.numbers[1] = flat.q;
    tables.numbers[2] = flat.w;
}

// The gains of frequency (h, w), whose factors are entries i and j of the tables. The loop over frequencies holds one of these.
template <class Space, class T, class View>
struct PlaneGains {
    const CombineParams& p;
    GainTables<View> tables;
    StepConstants<T> step;
    T heat, flat;

    SOFTDIFF_INLINE PlaneGains(const CombineParams& params, const GainTables<View>& of)
        : p(params), tables(of), step{}, heat{}, flat{} {
        if (p.task.kind == GainKind::kStep) step = get_step<T>(tables.constants, p.task.rule, p.task.prediction);
        if (p.task.kind == GainKind::kLevel) {
            heat = tables.constants[0];
            flat = tables.constants[1];
        }
    }

    template <GainKind Kind>
    SOFTDIFF_INLINE StepCoefficients<T> of_kind(std::int64_t b, std::int64_t c, int h, int w, int i, int j) const {
        if constexpr (Kind == GainKind::kLevel) {
            const T alpha = static_cast<T>(tables.row_decay[i]) * static_cast<T>(tables.column_decay[j]) * heat + flat;
            return {p.task.power == 2 ? alpha * alpha : alpha, T(0), T(0)};
        } else if constexpr (Kind == GainKind::kStep) {
            return step_at<T>(step, tables.row_decay[i], tables.column_decay[j], {tables.row_rest[i], tables.row_fade[i]},
                              {tables.column_rest[j], tables.column_fade[j]});
        } else {
            const auto map_at = [&](int term) -> T {
                if (!p.spectral[term]) return T(0);
                const Image& map = p.task.map[term];
                return Space::global(static_cast<const T*>(map.data))[plane_offset(map, b, c) + place_in_plane(map, h, w)];
            };
            return {map_at(0), map_at(1), map_at(2)};
        }
    }
};

// ---- noise --------------------------------------------------------------------------------------------------------------

template <class Space>
SOFTDIFF_INLINE std::uint64_t seed_of(const cuda::Seed& seed) {
    if (!seed.data) return seed.number;
    // without its sign, as everywhere: seeds are in [0, 2^63)
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(Space::global(seed.data)[0])) & INT64_MAX;
}

template <class T>
struct NormalQuad {
    T value[4];
};

// The four numbers of a counter.
template <class T>
SOFTDIFF_INLINE NormalQuad<T> normal_quad(std::uint64_t counter, std::uint64_t seed) {
    using Unsigned = typename Lanes<T>::Unsigned;
    const PhiloxWords words = philox(counter, seed);
    const auto word = [&](int i) { return static_cast<Unsigned>(words.word[i]); };
    const NormalPair<T> first = box_muller<T>(word(0), word(1)), second = box_muller<T>(word(2), word(3));
    return {{first.first, first.second, second.first, second.second}};
}

// Elements first .. first + count - 1 of a tensor by the counters that make their numbers (core/normal.hpp): a quad is the four
// elements of a counter, 16 apart, and 16 neighbouring threads have 64 neighbouring elements. Positions count from the first
// element, so 32 bits are enough. `Whole`: the elements are blocks of 64, and every quad has all four.
template <bool Whole>
struct Quads {
    std::uint64_t counter;  // of the first quad
    int skip;               // elements of its block that lie in front
    int count;

    SOFTDIFF_INLINE Quads(std::int64_t first, int elements)
        : counter(static_cast<std::uint64_t>(first) / kNormalBlock * kNormalLanes),
          skip(Whole ? 0 : static_cast<int>(static_cast<std::uint64_t>(first) % kNormalBlock)),
          count(elements) {}

    SOFTDIFF_INLINE int size() const {
        return static_cast<int>(static_cast<unsigned>(skip + count + kNormalBlock - 1) / kNormalBlock) * kNormalLanes;
    }
    SOFTDIFF_INLINE int position(int quad) const {
        const auto i = static_cast<unsigned>(quad);
        return static_cast<int>(i / kNormalLanes * kNormalBlock + i % kNormalLanes) - skip;
    }
    SOFTDIFF_INLINE bool has(int position) const {
        return Whole || static_cast<unsigned>(position) < static_cast<unsigned>(count);
    }
};

// body(position of the first element, draw) of each quad, shared out among the threads; draw() makes the four numbers. Two
// quads at once: so the keys of Philox's rounds are worked out half as often.
template <class T, bool Whole, class Body>
SOFTDIFF_INLINE void for_quads(const Quads<Whole>& quads, std::uint64_t seed, int thread, int threads, Body body) {
    const int size = quads.size();
    SOFTDIFF_UNROLL_2
    for (int i = thread; i < size; i += threads)
        body(quads.position(i), [&] { return normal_quad<T>(quads.counter + static_cast<unsigned>(i), seed); });
}

// ---- pixels -------------------------------------------------------------------------------------------------------------

// Where plane (b, c) of each image begins.
struct PlaneOffsets {
    std::int64_t of_term[kTerms];
    SOFTDIFF_INLINE PlaneOffsets(const CombineParams& p, std::int64_t b, std::int64_t c) {
        SOFTDIFF_UNROLL
        for (int i = 0; i < kTerms; ++i) of_term[i] = plane_offset(p.task.term[i], b, c);
    }
    SOFTDIFF_INLINE std::int64_t operator[](int i) const { return of_term[i]; }
};

// The pixel terms of pixel (h, w) of a plane, which begins at offsets[term] of each image of `Word`s (stored.hpp).
template <class Space, class T, class Word, class View, class Offsets>
SOFTDIFF_INLINE T pixel_terms(const CombineParams& p, View numbers, Offsets offsets, int h, int w) {
    T sum = 0;
    SOFTDIFF_UNROLL
    for (int i = 0; i < kTerms; ++i) {
        if (!p.pixel[i]) continue;
        const Image& image = p.task.term[i];
        const std::int64_t plane = offsets[i];
        const Word word = Space::global(static_cast<const Word*>(image.data))[plane + place_in_plane(image, h, w)];
        sum += static_cast<T>(numbers[i]) * widen_word(word, p.task.dtype);
    }
    return sum;
}

// A quad of a result whose element 0 of these is `begin`.
template <class Space, class T, bool Whole>
SOFTDIFF_INLINE void store_quad(void* out, Dtype dtype, std::int64_t begin, const Quads<Whole>& quads, int first,
                                const T* value) {
    with_output<Space, T>(out, dtype, begin, [&](auto to, auto as) {
        SOFTDIFF_UNROLL
        for (int k = 0; k < 4; ++k) {
            const int position = first + k * kNormalLanes;
            if (quads.has(position)) to[position] = Narrow<typename decltype(as)::Type>::from(value[k]);
        }
    });
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// Kernels without a transform: combinations whose gains are all one number, noise alone, the coefficients of a step, and the
// sum that ends the energy.
#pragma once

#include "mix.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// out = sum_i number_i image_i, and noise. A block is a run of elements of one plane or, where planes are small, whole planes.
template <class T>
struct PointwiseCombine {
    using Params = CombineParams;
    static constexpr const char* kName = "pointwise combine";
    static constexpr int kMostPhases = 2;
    static constexpr int kMaxThreads = 256, kMinBlocks = sizeof(T) == sizeof(double) ? 2 : 3;
    static constexpr int kNumbers = 4;               // of each plane: kTerms gains, one to spare
    static_assert(kNumbers + kConstants == 16);      // so that what follows is aligned
    static constexpr std::int64_t kElements = 4096;  // of a block: planes_per_block planes, or a piece of one

    static std::int64_t pieces(const Params& p) { return ceil_of(p.task.height * p.task.width, kElements); }
    static LaunchShape shape(Params& p) {
        const std::int64_t area = p.task.height * p.task.width;
        p.planes_per_block = static_cast<int>(area >= kElements ? 1 : std::min<std::int64_t>(kElements / area, 256));
        p.area_apart = Divider::of(area);
        p.width_apart = Divider::of(p.task.width);
        return {ceil_of(p.planes, p.planes_per_block) * pieces(p), kMaxThreads,
                p.planes_per_block * static_cast<int>((kNumbers + kConstants) * sizeof(T) + kTerms * sizeof(std::int64_t))};
    }

    static SOFTDIFF_INLINE int phases(const Params&) { return kMostPhases; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const std::int64_t area = p.task.height * p.task.width, parts = ceil_of(area, kElements);
        const std::int64_t first_plane = where.block / parts * p.planes_per_block, piece = where.block % parts;
        const int planes =
            static_cast<int>(first_plane + p.planes_per_block <= p.planes ? p.planes_per_block : p.planes - first_plane);
        auto numbers = Space::template shared<T>(shared, 0);
        const auto values = p.planes_per_block * static_cast<int>((kNumbers + kConstants) * sizeof(T));
        auto offsets = Space::template shared<std::int64_t>(shared, values);  // where a plane of each image begins
        if (i == 0) {
            auto constants = numbers + p.planes_per_block * kNumbers;
            for (int q = where.thread; q < planes; q += where.threads) {
                const std::int64_t plane = first_plane + q;
                using View = decltype(numbers);
                GainTables<View> tables{{}, {}, {}, {}, {}, {}, constants + q * kConstants, numbers + q * kNumbers};
                const std::int64_t b = plane / p.task.channels, c = plane % p.task.channels;
                fill_constants<Space, T>(p, b, c, tables);
                for (int term = 0; term < kTerms; ++term) offsets[q * kTerms + term] = plane_offset(p.task.term[term], b, c);
            }
            return;
        }
        // Positions among the planes of the block are 32-bit, as those within a plane (bindings/device_call.hpp).
        const std::int64_t begin = first_plane * area + piece * kElements;
        const std::int64_t left = parts == 1 ? planes * area : area - piece * kElements;
        const Quads<false> quads(begin, static_cast<int>(left < kElements || parts == 1 ? left : kElements));
        const bool draws = p.task.draw_noise;
        const auto plane_of = [&](std::uint32_t local) { return parts == 1 ? p.area_apart.divide(local) : 0U; };
        const auto from_first_plane = [&](int position) { return static_cast<std::uint32_t>(piece * kElements) + position; };
        for_quads<T>(quads, draws ? seed_of<Space>(p.task.seed) : 0, where.thread, where.threads, [&](int first, auto draw) {
            T value[4]{};
            with_word<T>(p.task.dtype, [&](auto as) {
                using Word = typename decltype(as)::Type;
                SOFTDIFF_UNROLL
                for (int k = 0; k < 4; ++k) {
                    const int position = first + k * kNormalLanes;
                    if (!quads.has(position)) continue;
                    const std::uint32_t local = from_first_plane(position), q = plane_of(local);
                    const std::uint32_t at = local - q * p.area_apart.divisor, h = p.width_apart.divide(at);
                    const auto w = static_cast<int>(at - h * p.width_apart.divisor);
                    value[k] =
                        pixel_terms<Space, T, Word>(p, numbers + q * kNumbers, offsets + q * kTerms, static_cast<int>(h), w);
                }
            });
            if (draws) {
                const NormalQuad<T> noise = draw();
                SOFTDIFF_UNROLL
                for (int k = 0; k < 4; ++k) {
                    const int position = first + k * kNormalLanes;
                    if (!quads.has(position)) continue;
                    const std::uint32_t q = plane_of(from_first_plane(position));
                    value[k] += static_cast<T>(numbers[q * kNumbers + 2]) * noise.value[k];
                }
            }
            store_quad<Space>(p.task.out, p.task.dtype, begin, quads, first, value);
        });
    }
};

struct NormalParams {
    cuda::Normal task;
};

template <class T>
struct FillNormal {
    using Params = NormalParams;
    static constexpr const char* kName = "normal";
    static constexpr int kMostPhases = 1;
    static constexpr int kMaxThreads = 256, kMinBlocks = 4;
    static constexpr std::int64_t kElements = 4096;

    static LaunchShape shape(const Params& p) { return {ceil_of(p.task.size, kElements), kMaxThreads, 0}; }
    static SOFTDIFF_INLINE int phases(const Params&) { return kMostPhases; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int, const Params& p, Where where, typename Space::Shared) {
        const std::int64_t begin = where.block * kElements, left = p.task.size - begin;
        const Quads<false> quads(begin, static_cast<int>(left < kElements ? left : kElements));
        for_quads<T>(quads, seed_of<Space>(p.task.seed), where.thread, where.threads, [&](int first, auto draw) {
            store_quad<Space>(p.task.out, p.task.dtype, begin, quads, first, draw().value);
        });
    }
};

struct CoefficientParams {
    cuda::Coefficients task;
};

// The p, q, w of a step as maps. T is also what is stored: float or double.
template <class T>
struct StepMaps {
    using Params = CoefficientParams;
    static constexpr const char* kName = "step coefficients";
    static constexpr int kMostPhases = 2;
    static constexpr int kMaxThreads = 256, kMinBlocks = 1;
    static constexpr std::int64_t kElements = 1024;

    static LaunchShape shape(const Params& p) {
        return {p.task.batch * ceil_of(p.task.height * p.task.width, kElements), kMaxThreads,
                static_cast<int>(kConstants * sizeof(T))};
    }
    static SOFTDIFF_INLINE int phases(const Params&) { return kMostPhases; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const std::int64_t area = p.task.height * p.task.width, parts = ceil_of(area, kElements);
        const std::int64_t b = where.block / parts, begin = where.block % parts * kElements;
        const Level s = level_at<Space>(p.task.s, b), t = level_at<Space>(p.task.t, b);
        auto constants = Space::template shared<T>(shared, 0);
        if (i == 0) {
            if (where.thread == 0)
                put_step<T>(make_step_constants<T>(s, t, p.task.rule, p.task.parameter, p.task.prediction, PowersTo<T>()),
                            constants);
            return;
        }
        const StepConstants<T> k = get_step<T>(constants, p.task.rule, p.task.prediction);
        const auto height = static_cast<int>(p.task.height), width = static_cast<int>(p.task.width);
        auto out = Space::global(static_cast<T*>(p.task.out)) + b * kTerms * area;
        for (std::int64_t e = begin + where.thread; e < begin + kElements && e < area; e += where.threads) {
            const auto h = static_cast<int>(e / width), w = static_cast<int>(e % width);
            const StepCoefficients<T> c = step_at<T>(k, decay_of<T>(h, height, s.tau), decay_of<T>(w, width, s.tau),
                                                     fade_of<T>(h, height, t.tau - s.tau), fade_of<T>(w, width, t.tau - s.tau));
            out[e] = c.p;
            out[area + e] = c.q;
            out[2 * area + e] = c.w;
        }
    }
};

struct SumParams {
    const void* partial;  // [batch, channels] in the type of the arithmetic
    void* out;            // [batch]
    std::int64_t batch, channels;
};

// out[b] = sum over c, in order: the same bits every time.
template <class T>
struct SumChannels {
    using Params = SumParams;
    static constexpr const char* kName = "sum over channels";
    static constexpr int kMostPhases = 1;
    static constexpr int kMaxThreads = 128, kMinBlocks = 1;

    static LaunchShape shape(const Params& p) { return {ceil_of(p.batch, kMaxThreads), kMaxThreads, 0}; }
    static SOFTDIFF_INLINE int phases(const Params&) { return kMostPhases; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int, const Params& p, Where where, typename Space::Shared) {
        const std::int64_t b = where.block * where.threads + where.thread;
        if (b >= p.batch) return;
        auto partial = Space::global(static_cast<const T*>(p.partial));
        T sum = 0;
        for (std::int64_t c = 0; c < p.channels; ++c) sum += static_cast<T>(partial[b * p.channels + c]);
        Space::global(static_cast<T*>(p.out))[b] = sum;
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

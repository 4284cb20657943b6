// The steps of a tile program (tile.hpp) as one thread of a block does them, but for the transforms within a tile
// (line_phases.hpp).
#pragma once

#include "tile.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class Space, class T, bool InGlobalMemory>
struct TileBlock {
    using View = std::conditional_t<InGlobalMemory, typename Space::template View<T>, typename Space::template SharedView<T>>;
    const TileParams<T>& p;
    Where where;
    View memory;
    std::int64_t plane, b, c;
    std::int64_t row0, column0;  // of the tile in its plane
    int rows, columns;           // of the tile that there are

    SOFTDIFF_INLINE TileBlock(const TileParams<T>& params, Where at, typename Space::Shared shared) : p(params), where(at) {
        if constexpr (InGlobalMemory) {
            memory = Space::global(p.memory) + where.block * p.block_values;
        } else {
            memory = Space::template shared<T>(shared, 0);
        }
        const auto index = static_cast<std::uint32_t>(where.block);
        const std::uint32_t plane_of_launch = p.panels.divide(index);
        const std::int64_t panel = p.first_panel + (index - plane_of_launch * p.panels.divisor);
        plane = p.first_plane + plane_of_launch;
        // Samples and channels counted from those of the launch's first plane, where there is more than one sample.
        const std::uint32_t channel = p.one_sample ? 0 : static_cast<std::uint32_t>(p.first_channel) + plane_of_launch;
        const std::uint32_t sample = p.one_sample ? 0 : p.channels_apart.divide(channel);
        b = p.first_sample + sample;
        c = p.one_sample ? p.first_channel + plane_of_launch : channel - sample * p.channels_apart.divisor;
        row0 = p.split_rows ? panel * p.rows : 0;
        column0 = p.split_rows ? 0 : panel * p.columns;
        rows = static_cast<int>(p.height - row0 < p.rows ? p.height - row0 : p.rows);
        columns = static_cast<int>(p.width - column0 < p.columns ? p.width - column0 : p.columns);
    }

    SOFTDIFF_INLINE View tile(int buffer, int index) const {
        return memory + (p.tiles_at + buffer * p.buffer_values + index * p.tile_values);
    }
    SOFTDIFF_INLINE TileLines<View> lines(const Step& step, int index) const {
        View data = tile(step.buffer, index);
        if (step.axis == kColumns) return {data, 1, p.leading, columns, p.columns_apart};
        return {data, p.leading, 1, rows, p.rows_apart};
    }
    // Pieces of work that are pixels of the tile, neighbours in a row.
    SOFTDIFF_INLINE Work pixels() const { return {p.columns_apart, true, columns, rows}; }

    SOFTDIFF_INLINE std::int64_t offset(const Port& port) const {
        const std::int64_t* stride = port.image.stride;
        return (port.scratch ? (plane - p.scratch_plane) * stride[1] : b * stride[0] + c * stride[1]) + row0 * stride[2] +
               column0 * stride[3];
    }
    // Along a line and from line to line of an image.
    SOFTDIFF_INLINE std::int64_t step_of(const Port& port, int axis) const { return port.image.stride[2 + axis]; }
    SOFTDIFF_INLINE std::int64_t line_stride_of(const Port& port, int axis) const { return port.image.stride[3 - axis]; }

    // body(value_at) of what a port reads: value_at(n) is number n from an offset on.
    template <class Body>
    SOFTDIFF_INLINE void with_image(const Port& port, std::int64_t offset, Body body) const {
        with_word<T>(port.dtype, [&](auto as) {
            using Word = typename decltype(as)::Type;
            const auto from = Space::global(static_cast<const Word*>(port.image.data)) + offset;
            body([&](std::int64_t at) -> T {
                const Word word = from[at];
                return widen_word(word, port.dtype);
            });
        });
    }
    SOFTDIFF_INLINE void put_result(std::int64_t at, T value) const {
        store_at<Space>(const_cast<void*>(p.out.image.data), p.out.dtype, at, value);
    }

    SOFTDIFF_INLINE GainTables<View> tables() const {
        View constants = memory, numbers = constants + kConstants, row = numbers + kNumbers, column = row + 3 * p.rows;
        return {row, row + p.rows, row + 2 * p.rows, column, column + p.columns, column + 2 * p.columns, constants, numbers};
    }

    // Frequencies of the tile's rows and columns; a plain row or column where that axis is not transformed.
    SOFTDIFF_INLINE int row_frequency(int r) const { return Space::global(p.line[kColumns].frequency)[row0 + r]; }

    SOFTDIFF_INLINE void gains(bool axes) const {
        const cuda::Combine& task = p.combine.task;
        const GainTables<View> to = tables();
        if (where.thread == 0) fill_constants<Space, T>(p.combine, b, c, to);
        if (!axes || task.kind == GainKind::kMap) return;
        const Level t = level_at<Space>(task.t, b), s = task.kind == GainKind::kStep ? level_at<Space>(task.s, b) : t;
        const auto height = static_cast<int>(p.height), width = static_cast<int>(p.width);
        const auto column_frequency = Space::global(p.line[kRows].frequency) + column0;
        fill_axis<T>(
            task, s, t, height, rows, where.thread, where.threads, [&](int r) { return row_frequency(r); }, to.row_decay,
            to.row_fade, to.row_rest);
        fill_axis<T>(
            task, s, t, width, columns, where.thread, where.threads,
            [&](int w) { return static_cast<int>(column_frequency[w]); }, to.column_decay, to.column_fade, to.column_rest);
    }

    // ---- into the tile ---------------------------------------------------------------------------------------------

    SOFTDIFF_INLINE void load(const Step& step, int index) const {
        View to = tile(step.buffer, index);
        const bool difference = step.level == 1;
        const Port &first = p.source[index], &second = p.source[1];
        const std::int64_t second_offset = difference ? offset(second) : 0;
        with_image(first, step.flag ? coefficient_offset(first) : offset(first), [&](auto value_at) {
            for_work(where, pixels(), [&](int w, int r) {
                const int row = step.flag ? coefficient_row(r) : r;
                T value = value_at(row * first.image.stride[2] + w * first.image.stride[3]);
                if (difference) {
                    const std::int64_t at = second_offset + r * second.image.stride[2] + w * second.image.stride[3];
                    with_image(second, at, [&](auto other_at) { value -= other_at(0); });
                }
                if (step.flag) value *= coefficient_weight(r, w);
                to[r * p.leading + (step.flag ? coefficient_place(w) : w)] = value;
            });
        });
    }

    SOFTDIFF_INLINE void split_image(const Step& step, int index) const {
        const LineTables<T>& line = p.line[step.axis];
        const Port& port = p.source[index];
        const int positions = line.size / line.radix;
        const auto to = lines(step, index);
        const std::int64_t along = step_of(port, step.axis), across = line_stride_of(port, step.axis);
        with_image(port, offset(port), [&](auto value_at) {
            with_radix(line.radix, [&](auto radix) {
                for_work(where, image_work(step, line, to.lines), [&](int l, int i) {
                    const std::int64_t image = l * across;
                    const Fold there(i, positions, along), here(i, positions, to.step);
                    View own = to.line(l);
                    split_position<Space, decltype(radix)::value>(
                        line, i, [&](int j) { return value_at(image + there[j]); },
                        [&](int j, T value) { own[here[j]] = value; });
                });
            });
        });
    }

    SOFTDIFF_INLINE void load_outputs(const Step& step) const {
        const Port& port = p.source[0];
        const auto from = Space::global(static_cast<const T*>(port.image.data)) + offset(port);
        const auto along = static_cast<int>(p.width);  // of a scratch tensor
        last_butterflies_in<Space, T>(p.line[kColumns], lines(step, 0), where, [&](int column, int at) -> T {
            return from[static_cast<std::int64_t>(at) * along + column];
        });
    }

    // ---- between the transforms ------------------------------------------------------------------------------------

    // Drawn noise: element e of the tensor is number e. Runs of neighbouring elements are shared out by counters.
    SOFTDIFF_INLINE void noise(const Step& step) const {
        const bool coefficients = step.flag;
        const std::uint64_t seed = seed_of<Space>(p.combine.task.seed);
        const bool whole = !coefficients && p.whole;  // all pixels of a plane are one run
        const std::int64_t plane_begin = plane * p.height * p.width;
        const std::int64_t length = whole ? p.height * p.width : columns;
        const View numbers = tables().numbers;
        const T gain = coefficients ? T(0) : static_cast<T>(numbers[2]);
        View to = coefficients ? memory + p.noise_at : tile(step.buffer, 0);
        for_work(where, {p.noise_items, false, whole ? 1 : rows, static_cast<int>(p.noise_items.divisor)},
                 [&](int run, int item) {
                     const std::int64_t row = coefficients ? row_frequency(run) : row0 + run;
                     const std::int64_t begin = plane_begin + (whole ? 0 : row * p.width + column0);
                     const std::int64_t counter = begin / kNormalBlock * kNormalLanes + item;
                     const std::int64_t first = counter / kNormalLanes * kNormalBlock + counter % kNormalLanes - begin;
                     if (first + 3 * kNormalLanes < 0 || first >= length) return;
                     const NormalQuad<T> quad = normal_quad<T>(static_cast<std::uint64_t>(counter), seed);
                     SOFTDIFF_UNROLL
                     for (int k = 0; k < 4; ++k) {
                         const std::int64_t at = first + k * kNormalLanes;
                         if (at < 0 || at >= length) continue;
                         if (coefficients) {
                             const auto w = static_cast<int>(at);
                             to[run * p.leading + coefficient_place(w)] = quad.value[k] * coefficient_weight(run, w);
                         } else {
                             const std::uint32_t r = whole ? p.columns_apart.divide(static_cast<std::uint32_t>(at)) : run;
                             const std::int64_t w = whole ? at - r * p.width : at;
                             to[r * p.leading + w] += gain * quad.value[k];
                         }
                     }
                 });
    }

    // The last butterflies of the rows, then body(row, position, values of all tiles) -> value, and the butterflies back. There
    // are up to MostTiles tiles.
    template <int MostTiles, class Body>
    SOFTDIFF_INLINE void rows_through(const Step& step, bool back, Body body) const {
        const LineTables<T>& line = p.line[kRows];
        const auto pair = Space::global(line.pair) + line.level_first[line.levels - 1];
        const int tiles = MostTiles == 1 ? 1 : step.tiles;
        View first = tile(step.buffer, 0);
        for_work(where, {line.last_pairs, false, rows, static_cast<int>(line.last_pairs.divisor)}, [&](int r, int index) {
            const OutputPair at = pair[index];
            View own = first + r * p.leading;
            T u[MostTiles], v[MostTiles];
            SOFTDIFF_UNROLL
            for (int i = 0; i < MostTiles; ++i) {
                if (i >= tiles) continue;
                const T x = own[at.a + i * p.tile_values], y = at.b < 0 ? T(0) : static_cast<T>(own[at.b + i * p.tile_values]);
                u[i] = x + y;
                v[i] = x - y;
            }
            const T sum = body(r, at.a, u), difference = at.b < 0 ? T(0) : body(r, at.b, v);
            if (!back) return;
            own[at.a] = sum + difference;
            if (at.b >= 0) own[at.b] = sum - difference;
        });
    }

    SOFTDIFF_INLINE void mix(const Step& step) const {
        switch (p.combine.task.kind) {
            case GainKind::kLevel: return mix_kind<GainKind::kLevel, 1>(step);
            case GainKind::kStep: return mix_kind<GainKind::kStep, kTerms>(step);
            default: return mix_kind<GainKind::kMap, kTerms>(step);
        }
    }

    template <GainKind Kind, int MostTiles>
    SOFTDIFF_INLINE void mix_kind(const Step& step) const {
        const PlaneGains<Space, T, View> outside(p.combine, tables());
        const View drawn = memory + p.noise_at;
        const auto row_weight = Space::global(p.line[kColumns].weight) + row0;
        const auto column_weight = Space::global(p.line[kRows].weight);
        const auto column_frequency = Space::global(p.line[kRows].frequency);
        const bool noise = p.combine.spectral_noise;
        rows_through<MostTiles>(step, true, [&](int r, int at, const T* value) {
            T sum = 0;
            StepCoefficients<T> gain;
            if constexpr (Kind == GainKind::kMap) {
                gain = outside.template of_kind<Kind>(b, c, row_frequency(r), column_frequency[at], r, at);
            } else if constexpr (Kind == GainKind::kStep) {
                // What is the same for all frequencies is read again for each: to keep it would take too many registers.
                gain = PlaneGains<Space, T, View>(p.combine, tables()).template of_kind<Kind>(b, c, 0, 0, r, at);
            } else {
                gain = outside.template of_kind<Kind>(b, c, 0, 0, r, at);
            }
            SOFTDIFF_UNROLL
            for (int i = 0; i < MostTiles; ++i) {
                if (MostTiles > 1 && i >= step.tiles) continue;
                const int term = MostTiles > 1 ? p.term_of[i] : 0;
                sum += (term == 0 ? gain.p : term == 1 ? gain.q : gain.w) * value[i];
            }
            sum *= static_cast<T>(row_weight[r]) * static_cast<T>(column_weight[at]);
            if (Kind == GainKind::kStep && noise) sum += gain.w * static_cast<T>(drawn[r * p.leading + at]);
            return sum;
        });
    }

    SOFTDIFF_INLINE void squares(const Step& step) const {
        const PlaneGains<Space, T, View> gains(p.combine, tables());
        const auto row_weight = Space::global(p.line[kColumns].weight) + row0;
        const auto column_weight = Space::global(p.line[kRows].weight);
        T total = 0;
        rows_through<1>(step, false, [&](int r, int at, const T* value) {
            const T filtered = gains.template of_kind<GainKind::kLevel>(b, c, 0, 0, r, at).p * value[0];
            total += filtered * filtered * (static_cast<T>(row_weight[r]) * static_cast<T>(column_weight[at]));
            return T(0);
        });
        View sums = memory + p.sums_at;
        sums[where.thread] = total;
    }

    // The order of the additions is fixed: the same bits every time.
    SOFTDIFF_INLINE void sum(int level) const {
        View sums = memory + p.sums_at, few = sums + where.threads;
        T total = 0;
        if (level == 0) {
            if (where.thread >= kSumThreads) return;
            for (int i = where.thread; i < where.threads; i += kSumThreads) total += static_cast<T>(sums[i]);
            few[where.thread] = total;
        } else if (where.thread == 0) {
            for (int i = 0; i < kSumThreads; ++i) total += static_cast<T>(few[i]);
            Space::global(p.partial)[where.block] = total;
        }
    }

    // ---- out of the tile -------------------------------------------------------------------------------------------

    SOFTDIFF_INLINE void store_outputs(const Step& step) const {
        const auto to = Space::global(static_cast<T*>(const_cast<void*>(p.out.image.data))) + offset(p.out);
        const auto along = static_cast<int>(p.width);  // of a scratch tensor
        last_butterflies_out<Space, T>(p.line[kColumns], lines(step, 0), where, [&](int column, int at, T value) {
            to[static_cast<std::int64_t>(at) * along + column] = value;
        });
    }

    SOFTDIFF_INLINE void join_image(const Step& step) const {
        const LineTables<T>& line = p.line[step.axis];
        const int positions = line.size / line.radix;
        const auto from = lines(step, 0);
        const std::int64_t begin = offset(p.out), along = step_of(p.out, step.axis), across = line_stride_of(p.out, step.axis);
        with_radix(line.radix, [&](auto radix) {
            for_work(where, image_work(step, line, from.lines), [&](int l, int i) {
                const std::int64_t image = begin + l * across;
                const Fold there(i, positions, along), here(i, positions, from.step);
                const View own = from.line(l);
                join_position<Space, decltype(radix)::value>(
                    line, i, [&](int j) { return static_cast<T>(own[here[j]]); },
                    [&](int j, T value) { put_result(image + there[j], value); });
            });
        });
    }

    SOFTDIFF_INLINE void store(const Step& step) const {
        const View from = tile(step.buffer, 0), numbers = tables().numbers;
        const bool terms = step.level == 1;
        const std::int64_t begin = step.flag ? coefficient_offset(p.out) : offset(p.out);
        const PlaneOffsets offsets(p.combine, b, c);
        for_work(where, pixels(), [&](int w, int r) {
            T value = from[r * p.leading + (step.flag ? coefficient_place(w) : w)];
            if (step.flag) value *= coefficient_weight(r, w);
            if (terms)
                with_word<T>(p.combine.task.dtype, [&](auto as) {
                    value += pixel_terms<Space, T, typename decltype(as)::Type>(
                        p.combine, numbers, offsets, static_cast<int>(row0) + r, static_cast<int>(column0) + w);
                });
            const int row = step.flag ? coefficient_row(r) : r;
            put_result(begin + row * p.out.image.stride[2] + w * p.out.image.stride[3], value);
        });
    }

    // ---- helpers ---------------------------------------------------------------------------------------------------

    // Neighbouring threads on neighbouring pixels, whichever way the lines run.
    SOFTDIFF_INLINE Work image_work(const Step& step, const LineTables<T>& line, int count) const {
        const bool side_by_side = step.axis == kColumns;
        return {side_by_side ? p.columns_apart : line.positions, side_by_side, count, line.size / line.radix};
    }

    // Coefficients (r, w) in natural order along the row: the image's row, the place in the tile, the orthonormal weight.
    // Rows of a transform of rows only are no frequencies: their tables have no height.
    SOFTDIFF_INLINE bool rows_are_frequencies() const { return p.line[kColumns].size > 0; }
    SOFTDIFF_INLINE int coefficient_row(int r) const { return rows_are_frequencies() ? row_frequency(r) : r; }
    SOFTDIFF_INLINE std::int64_t coefficient_offset(const Port& port) const {
        return offset(port) - (rows_are_frequencies() ? row0 * port.image.stride[2] : 0);
    }
    SOFTDIFF_INLINE int coefficient_place(int w) const { return Space::global(p.line[kRows].position)[w]; }
    SOFTDIFF_INLINE T coefficient_weight(int r, int w) const {
        const T along = Space::global(p.line[kRows].root_weight)[coefficient_place(w)];
        if (!rows_are_frequencies()) return along;
        return along * static_cast<T>(Space::global(p.line[kColumns].root_weight)[row0 + r]);
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

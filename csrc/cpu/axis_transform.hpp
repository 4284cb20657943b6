// DCT-II or its inverse along one axis: natural frequency order, orthonormal.
#pragma once

#include <algorithm>

#include "parallel.hpp"
#include "staging.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Over the last dimension: `height` independent rows, kLanes at a time, turned and turned back. For rows longer than a vector.
template <class T>
class RowTransform {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    static void run(const TransformTask& task) {
        const Line<T> line(task.width);
        Arena needed(nullptr);
        RowTransform(task, line, needed);
        for_each_range((task.height + L - 1) / L, task.height * task.width, task.threads, needed.used(),
                       [&](Arena& arena, std::int64_t first, std::int64_t last) {
                           RowTransform kernel(task, line, arena);
                           for (std::int64_t block = first; block < last; ++block) kernel.one_block(block * L);
                       });
    }

  private:
    const TransformTask& task_;
    const Line<T>& line_;
    const int width_, panels_;
    V *values_, *other_, *scratch_;
    T* staged_;

    RowTransform(const TransformTask& task, const Line<T>& line, Arena& arena)
        : task_(task), line_(line), width_(static_cast<int>(task.width)), panels_((width_ + L - 1) / L) {
        for (V** buffer : {&values_, &other_}) *buffer = arena.take<V>(width_);
        scratch_ = arena.take<V>(line_scratch(line.plan));
        staged_ = arena.take<T>(static_cast<std::int64_t>(L) * width_);
    }

    // The last panel overlaps its neighbour where the width is no multiple of kLanes.
    int offset(int panel) const { return std::min(panel * L, width_ - L); }

    void one_block(std::int64_t first) {
        const int lanes = static_cast<int>(std::min<std::int64_t>(L, task_.height - first));
        const auto& plan = line_.plan;
        load_rows(first, lanes);
        if (task_.inverse) {
            for (int w = 0; w < width_; ++w) other_[w] = values_[plan.frequency[w]] * plan.root_weight[w];
            line_.inverse(other_, reinterpret_cast<T*>(values_), L, scratch_);
        } else {
            line_.forward(reinterpret_cast<const T*>(values_), L, other_, scratch_);
            for (int w = 0; w < width_; ++w) values_[plan.frequency[w]] = other_[w] * plan.root_weight[w];
        }
        store_rows(first, lanes);
    }

    // Rows where they are, if they are numbers of T one after the other; else copies.
    void load_rows(std::int64_t first, int lanes) {
        const Image& input = task_.input;
        if (stores<T>(task_.dtype) && input.stride[3] == 1)
            return transpose_in(static_cast<const T*>(input.data) + first * input.stride[2], input.stride[2], lanes);
        stage_rows(task_.dtype, input, first, lanes, width_, staged_);
        transpose_in(staged_, width_, lanes);
    }
    void store_rows(std::int64_t first, int lanes) {
        if (stores<T>(task_.dtype)) return transpose_out(static_cast<T*>(task_.out) + first * width_, width_, lanes);
        transpose_out(staged_, width_, lanes);
        emit_run(task_.dtype, staged_, task_.out, first * width_, std::int64_t{lanes} * width_);
    }

    // What comes two blocks later is fetched ahead, and what is written next.
    void transpose_in(const T* rows, std::int64_t row, int lanes) {
        for (int j = 0; j < panels_; ++j) {
            const T* from = rows + offset(j);
            V square[L];
            if (lanes == L) {
                SOFTDIFF_UNROLL
                for (int lane = 0; lane < L; ++lane) {
                    fetch_line<FetchFor::kRead>(from + (lane + 2 * L) * row);
                    square[lane] = load(from + lane * row);
                }
            } else {
                for (int lane = 0; lane < L; ++lane) square[lane] = load(from + std::min(lane, lanes - 1) * row);
            }
            transpose<T>(square);
            SOFTDIFF_UNROLL
            for (int i = 0; i < L; ++i) values_[offset(j) + i] = square[i];
        }
    }
    void transpose_out(T* rows, std::int64_t row, int lanes) {
        for (int j = 0; j < panels_; ++j) {
            T* to = rows + offset(j);
            V square[L];
            SOFTDIFF_UNROLL
            for (int i = 0; i < L; ++i) square[i] = values_[offset(j) + i];
            transpose<T>(square);
            if (lanes == L) {
                SOFTDIFF_UNROLL
                for (int lane = 0; lane < L; ++lane) {
                    fetch_line<FetchFor::kWrite>(to + (lane + L) * row);
                    store(to + lane * row, square[lane]);
                }
            } else {
                for (int lane = 0; lane < lanes; ++lane) store(to + lane * row, square[lane]);
            }
        }
    }
};

// Over the second to last dimension: some panels of kLanes neighbouring columns of a channel at a time, read and written where
// they are.
template <class T, class Storage>
class ColumnTransform {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    static void run(const TransformTask& task) {
        const Line<T> line(task.height);
        const std::int64_t panels = (task.width + L - 1) / L;
        const std::int64_t together = std::min<std::int64_t>(panels, panels_together(line.plan.size));
        const std::int64_t groups = (panels + together - 1) / together, count = task.channels * groups;
        Arena needed(nullptr);
        ColumnTransform(task, line, together, needed);
        for_each_range(count, task.channels * task.height * task.width, task.threads, needed.used(),
                       [&](Arena& arena, std::int64_t first, std::int64_t last) {
                           ColumnTransform kernel(task, line, together, arena);
                           for (std::int64_t i = first; i < last; ++i) kernel.one_group(i / groups, i % groups * together);
                       });
    }

  private:
    const TransformTask& task_;
    const Line<T>& line_;
    const std::int64_t panels_;
    const std::int64_t together_;
    V *values_, *spectrum_, *scratch_;

    // A step down a column goes to another page of memory, which pays for itself where several vectors are read there: 2^k of
    // them, so many that both buffers stay in the first cache.
    static std::int64_t panels_together(std::int64_t size) {
        constexpr std::int64_t kBytes = 16 << 10;
        std::int64_t panels = 1;
        while (panels < 8 && 2 * panels * size * static_cast<std::int64_t>(sizeof(V)) <= kBytes) panels *= 2;
        return panels;
    }

    ColumnTransform(const TransformTask& task, const Line<T>& line, std::int64_t together, Arena& arena)
        : task_(task), line_(line), panels_((task.width + L - 1) / L), together_(together) {
        for (V** buffer : {&values_, &spectrum_}) *buffer = arena.take<V>(together * line.plan.size);
        scratch_ = arena.take<V>(line_scratch(line.plan));
    }

    void one_group(std::int64_t channel, std::int64_t first) {
        const std::int64_t row = task_.input.stride[2], step = task_.input.stride[3], width = task_.width;
        const auto* from = static_cast<const Storage*>(task_.input.data) + channel * task_.input.stride[1];
        auto* out = static_cast<Storage*>(task_.out) + channel * task_.height * width;
        const LinePlan<T>& plan = line_.plan;
        const std::int64_t count = std::min(together_, panels_ - first), size = plan.size;
        const auto lanes = [&](std::int64_t panel) { return static_cast<int>(std::min<std::int64_t>(L, width - panel * L)); };
        const auto read = [&](int k, std::int64_t i) {
            const std::int64_t panel = first + i;
            return load_lanes(from + k * row + panel * L * step, step, lanes(panel));
        };
        const auto write = [&](int k, std::int64_t i, V value) {
            const std::int64_t panel = first + i;
            store_lanes(out + k * width + panel * L, value, lanes(panel));
        };
        if (task_.inverse) {
            for (int k = 0; k < size; ++k)
                for (std::int64_t i = 0; i < count; ++i)
                    spectrum_[i * size + k] = read(plan.frequency[k], i) * plan.root_weight[k];
            for (std::int64_t i = 0; i < count; ++i)
                line_.inverse(spectrum_ + i * size, reinterpret_cast<T*>(values_ + i * size), L, scratch_);
            for (int k = 0; k < size; ++k)
                for (std::int64_t i = 0; i < count; ++i) write(k, i, values_[i * size + k]);
        } else {
            for (int k = 0; k < size; ++k)
                for (std::int64_t i = 0; i < count; ++i) values_[i * size + k] = read(k, i);
            for (std::int64_t i = 0; i < count; ++i)
                line_.forward(reinterpret_cast<const T*>(values_ + i * size), L, spectrum_ + i * size, scratch_);
            for (int k = 0; k < size; ++k)
                for (std::int64_t i = 0; i < count; ++i)
                    write(plan.frequency[k], i, spectrum_[i * size + k] * plan.root_weight[k]);
        }
    }

    static SOFTDIFF_INLINE V load_lanes(const Storage* from, std::int64_t step, int lanes) {
        if (lanes == L && step == 1) return load_as<T>(from);
        V out{};
        for (int i = 0; i < lanes; ++i) out[i] = from_storage<T>(from[i * step]);
        return out;
    }
    static SOFTDIFF_INLINE void store_lanes(Storage* to, V value, int lanes) {
        if (lanes == L) return store_as(to, value);
        for (int i = 0; i < lanes; ++i) to[i] = to_storage<Storage>(static_cast<T>(value[i]));
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

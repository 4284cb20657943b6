// DCT-II or its inverse along one axis: natural frequency order, orthonormal.
#pragma once

#include <algorithm>

#include "line.hpp"
#include "parallel.hpp"
#include "task.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Over the last dimension: `height` independent rows, kLanes at a time.
template <class T, class Storage>
void transform_rows(const TransformTask& task) {
    using V = Vec<T>;
    constexpr int L = kLanes<T>;
    const Line<T> line(task.width);
    const int width = static_cast<int>(task.width), padded = std::max(width, L), panels = (width + L - 1) / L;
    const auto offset = [&](int panel) { return width <= L ? 0 : std::min(panel * L, width - L); };
    const std::int64_t blocks = (task.height + L - 1) / L;
    const auto take = [&](Arena& arena, V*& x, V*& y, V*& scratch, T*& rows) {
        x = arena.take<V>(padded);
        y = arena.take<V>(padded);
        scratch = arena.take<V>(line_scratch(line.plan));
        rows = arena.take<T>(static_cast<std::int64_t>(L) * padded);
    };
    V *x, *y, *scratch;
    T* rows;
    Arena needed(nullptr);
    take(needed, x, y, scratch, rows);
    const auto body = [&](Arena& arena, std::int64_t first, std::int64_t last) {
        V *values, *other, *work;
        T* staged;
        take(arena, values, other, work, staged);
        for (std::int64_t block = first; block < last; ++block) {
            const int lanes = static_cast<int>(std::min<std::int64_t>(L, task.height - block * L));
            const Storage* from = static_cast<const Storage*>(task.input.data) + block * L * task.input.stride[2];
            Storage* out = static_cast<Storage*>(task.out) + block * L * task.width;
            for (int lane = 0; lane < lanes; ++lane)
                for (int w = 0; w < width; ++w)
                    staged[lane * padded + w] = from_storage<T>(from[lane * task.input.stride[2] + w * task.input.stride[3]]);
            V square[L];
            for (int j = 0; j < panels; ++j) {
                for (int lane = 0; lane < L; ++lane)
                    square[lane] = load(staged + std::min(lane, lanes - 1) * padded + offset(j));
                transpose<T>(square);
                for (int i = 0; i < L; ++i) values[offset(j) + i] = square[i];
            }
            const auto& plan = line.plan;
            if (task.inverse) {
                for (int w = 0; w < width; ++w) other[w] = values[plan.frequency[w]] * plan.root_weight[w];
                line.inverse(other, reinterpret_cast<T*>(values), L, work);
            } else {
                line.forward(reinterpret_cast<const T*>(values), L, other, work);
                for (int w = 0; w < width; ++w) values[plan.frequency[w]] = other[w] * plan.root_weight[w];
            }
            for (int j = 0; j < panels; ++j) {
                for (int i = 0; i < L; ++i) square[i] = values[offset(j) + i];
                transpose<T>(square);
                for (int lane = 0; lane < lanes; ++lane) store(staged + lane * padded + offset(j), square[lane]);
            }
            for (int lane = 0; lane < lanes; ++lane) convert_run_back(staged + lane * padded, out + lane * task.width, width);
        }
    };
    for_each_range(blocks, task.height * task.width, task.threads, needed.used(), body);
}

// Over the second to last dimension: kLanes neighbouring columns of a channel at a time, read and written where they are.
template <class T, class Storage>
class ColumnTransform {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    static void run(const TransformTask& task) {
        const Line<T> line(task.height);
        const std::int64_t panels = (task.width + L - 1) / L, count = task.channels * panels;
        Arena needed(nullptr);
        ColumnTransform(task, line, needed);
        for_each_range(count, task.channels * task.height * task.width, task.threads, needed.used(),
                       [&](Arena& arena, std::int64_t first, std::int64_t last) {
                           ColumnTransform kernel(task, line, arena);
                           for (std::int64_t i = first; i < last; ++i) kernel.one_panel(i / panels, i % panels * L);
                       });
    }

  private:
    const TransformTask& task_;
    const Line<T>& line_;
    V *values_, *spectrum_, *scratch_;

    ColumnTransform(const TransformTask& task, const Line<T>& line, Arena& arena) : task_(task), line_(line) {
        for (V** buffer : {&values_, &spectrum_}) *buffer = arena.take<V>(line.plan.size);
        scratch_ = arena.take<V>(line_scratch(line.plan));
    }

    void one_panel(std::int64_t channel, std::int64_t column) {
        const std::int64_t row = task_.input.stride[2], step = task_.input.stride[3], width = task_.width;
        const int lanes = static_cast<int>(std::min<std::int64_t>(L, width - column));
        const auto* from = static_cast<const Storage*>(task_.input.data) + channel * task_.input.stride[1] + column * step;
        auto* out = static_cast<Storage*>(task_.out) + channel * task_.height * width + column;
        const LinePlan<T>& plan = line_.plan;
        const auto read = [&](int k) { return load_lanes(from + k * row, step, lanes); };
        const auto write = [&](int k, V value) { store_lanes(out + k * width, value, lanes); };
        if (task_.inverse) {
            for (int k = 0; k < plan.size; ++k) spectrum_[k] = read(plan.frequency[k]) * plan.root_weight[k];
            line_.inverse(spectrum_, reinterpret_cast<T*>(values_), L, scratch_);
            for (int k = 0; k < plan.size; ++k) write(k, values_[k]);
        } else {
            for (int k = 0; k < plan.size; ++k) values_[k] = read(k);
            line_.forward(reinterpret_cast<const T*>(values_), L, spectrum_, scratch_);
            for (int k = 0; k < plan.size; ++k) write(plan.frequency[k], spectrum_[k] * plan.root_weight[k]);
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

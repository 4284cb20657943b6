// Plain transforms (natural frequency order, orthonormal) and the energy of a filtered difference.
#pragma once

#include "heat.hpp"
#include "parallel.hpp"
#include "square.hpp"
#include "staging.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// DCT-II or its inverse over the last two dimensions.
template <class T>
class PlaneTransform {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    PlaneTransform(const TransformTask& task, const Plane<T>& plane, Arena& arena) : task_(task), plane_(plane) {
        const std::int64_t area = static_cast<std::int64_t>(plane.H) * plane.padded_width;
        panel_ = arena.take<V>(plane.panel_vectors());
        for (V** buffer : {&line_, &spectrum_}) *buffer = arena.take<V>(plane.padded_width);
        scratch_ = arena.take<V>(plane.scratch_vectors());
        staged_ = arena.take<T>(area + L);
        result_ = arena.take<T>(area + L);
        root_row_ = arena.take<T>(plane.padded_height);
        if (root_row_)
            for (int h = 0; h < plane.padded_height; ++h) root_row_[h] = h < plane.H ? plane.columns.plan.root_weight[h] : T(0);
    }

    void run(std::int64_t first, std::int64_t last) {
        for (std::int64_t plane = first; plane < last; ++plane) {
            const std::int64_t next = std::min(plane + 1, last - 1);
            first_ = plane * plane_.H * plane_.W;
            ahead_ = plane_.fetches_panels()
                         ? FetchedPlane{}
                         : fetched_plane(task_.dtype, plane_, task_.input, next / task_.channels, next % task_.channels);
            one_plane(stage(task_.dtype, plane_, task_.input, plane / task_.channels, plane % task_.channels, staged_));
        }
    }

  private:
    using Read = BlockFetch<FetchFor::kRead>;
    using Write = BlockFetch<FetchFor::kWrite>;

    const TransformTask& task_;
    const Plane<T>& plane_;
    V *panel_, *line_, *spectrum_, *scratch_;
    T *staged_, *result_, *root_row_;
    std::int64_t first_ = 0;  // the number of this plane's first element
    FetchedPlane ahead_;      // the next image

    // Where the next image is fetched, so is what the results will take from row h of this plane on.
    FetchedPlane out_ahead(int h) const {
        return ahead_.data ? fetched(task_.out, first_ + static_cast<std::int64_t>(h) * plane_.W, task_.dtype) : FetchedPlane{};
    }

    void one_plane(const StagedPlane<T>& image) {
        void* out = static_cast<char*>(task_.out) + first_ * element_bytes(task_.dtype);
        const StagedPlane<T> result = target(task_.dtype, plane_, out, result_);
        T* to = const_cast<T*>(result.data);
        if (task_.inverse) {
            for (int h = 0; h < plane_.padded_height; h += L) inverse_rows(image, h);
            if (plane_.narrow()) {
                plane_.inverse_columns(panel_, to, result.row_stride, scratch_);
            } else {
                inverse_columns(plane_, panel_, to, scratch_);
            }
        } else {
            forward_columns(plane_, image, panel_, scratch_);
            for (int h = 0; h < plane_.padded_height; h += L) forward_rows(h, to, result.row_stride);
        }
        emit(task_.dtype, plane_, result, out);
    }

    void forward_rows(int h, T* to, std::ptrdiff_t row_stride) {
        plane_.load_rows(panel_, h, line_, Read{ahead_});
        plane_.rows.forward(reinterpret_cast<const T*>(line_), L, spectrum_, scratch_);
        const V root_row = load(root_row_ + h);
        for (int w = 0; w < plane_.W; ++w)
            line_[plane_.rows.plan.frequency[w]] = spectrum_[w] * (root_row * plane_.rows.plan.root_weight[w]);
        // The rows after these, of the next plane in the end: results lie one after the other.
        plane_.scatter_rows(line_, h, to, row_stride, Write{out_ahead(L)});
    }

    void inverse_rows(const StagedPlane<T>& image, int h) {
        plane_.gather_rows(image.data, image.row_stride, h, line_, Read{ahead_});
        const V root_row = load(root_row_ + h);
        for (int w = 0; w < plane_.W; ++w)
            spectrum_[w] = line_[plane_.rows.plan.frequency[w]] * (root_row * plane_.rows.plan.root_weight[w]);
        plane_.rows.inverse(spectrum_, reinterpret_cast<T*>(line_), L, scratch_);
        plane_.store_rows(line_, panel_, h, Write{out_ahead(0)});
    }
};

// out[b] = sum over c, f of (alpha u)^2, u = V^T (a - b). Parallel over samples only: the order of additions never changes.
template <class T>
class Energy {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    static void run(const EnergyTask& task) {
        const Plane<T> plane(task.height, task.width);
        Arena needed(nullptr);
        Energy(task, plane, needed);
        const std::int64_t work = task.batch * task.channels * task.height * task.width;
        for_each_range(task.batch, work, task.threads, needed.used(), [&](Arena& arena, std::int64_t first, std::int64_t last) {
            Energy kernel(task, plane, arena);
            for (std::int64_t b = first; b < last; ++b) static_cast<T*>(task.out)[b] = static_cast<T>(kernel.one_sample(b));
        });
    }

  private:
    const EnergyTask& task_;
    const Plane<T>& plane_;
    V *panel_, *line_, *spectrum_, *scratch_;
    T *first_, *second_, *difference_, *row_, *flat_row_, *column_;

    Energy(const EnergyTask& task, const Plane<T>& plane, Arena& arena) : task_(task), plane_(plane) {
        const std::int64_t area = static_cast<std::int64_t>(plane.H) * plane.padded_width;
        panel_ = arena.take<V>(plane.panel_vectors());
        for (V** buffer : {&line_, &spectrum_}) *buffer = arena.take<V>(plane.padded_width);
        scratch_ = arena.take<V>(plane.scratch_vectors());
        for (T** copy : {&first_, &second_, &difference_}) *copy = arena.take<T>(area);
        for (T** table : {&row_, &flat_row_}) *table = arena.take<T>(plane.padded_height);
        column_ = arena.take<T>(plane.padded_width);
        if (panel_) std::fill_n(panel_, plane.panel_vectors(), V{});  // rows beyond H stay 0: their lanes are summed too
    }

    double one_sample(std::int64_t b) {
        const Level level = task_.level.at(b);
        const double a = std::exp(level.log_a);
        const auto& vertical = plane_.columns.plan;
        const auto& horizontal = plane_.rows.plan;
        heat_table(vertical, level.tau, row_);
        heat_table(horizontal, level.tau, column_);
        for (int h = 0; h < plane_.padded_height; ++h) {
            const T weight = h < plane_.H ? vertical.root_weight[h] : T(0);
            row_[h] = h < plane_.H ? row_[h] * static_cast<T>(a * (1.0 - level.floor)) * weight : T(0);
            flat_row_[h] = static_cast<T>(a * level.floor) * weight;
        }
        for (int w = 0; w < plane_.W; ++w) column_[w] *= horizontal.root_weight[w];

        double total = 0.0;
        for (std::int64_t c = 0; c < task_.channels; ++c) {
            const StagedPlane<T> x = stage(task_.dtype, plane_, task_.a, b, c, first_);
            const StagedPlane<T> y = stage(task_.dtype, plane_, task_.b, b, c, second_);
            for (int h = 0; h < plane_.H; ++h)
                for (int w = 0; w < plane_.padded_width; ++w)
                    difference_[h * plane_.padded_width + w] = x.data[h * x.row_stride + w] - y.data[h * y.row_stride + w];
            plane_.forward_columns(difference_, plane_.padded_width, panel_, scratch_);
            for (int h = 0; h < plane_.padded_height; h += L) {
                plane_.load_rows(panel_, h, line_);
                plane_.rows.forward(reinterpret_cast<const T*>(line_), L, spectrum_, scratch_);
                const V row = load(row_ + h), flat = load(flat_row_ + h);
                V sum{};
                for (int w = 0; w < plane_.W; ++w) {
                    const V value = spectrum_[w] * (row * column_[w] + flat * horizontal.root_weight[w]);
                    sum += value * value;
                }
                for (int lane = 0; lane < L; ++lane) total += static_cast<double>(sum[lane]);
            }
        }
        return total;
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// The gradient of a gain: products of two spectra, summed over the planes that share the gain.
#pragma once

#include <algorithm>
#include <vector>

#include "parallel.hpp"
#include "staging.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// out[b or 0, c or 0] = sum over the planes of a group of (V^T x) (V^T y), natural frequency order. Neither spectrum is written
// to memory: kLanes rows of both are multiplied as they come out of the transforms.
//
// A group of many planes is cut into shares, so that threads have something to do where one gain serves the whole batch. How
// many depends on the sizes only, and the shares are added in order: results do not depend on the thread count.
template <class T>
class Correlation {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    static void run(const CorrelationTask& task) {
        const Plane<T> plane(task.height, task.width);
        const std::int64_t planes = task.batch * task.channels, area = task.height * task.width;
        const std::int64_t members = (task.sum_batch ? task.batch : 1) * (task.sum_channels ? task.channels : 1);
        const std::int64_t groups = planes / members;
        const std::int64_t shares = std::min(members, std::max<std::int64_t>(1, kShares / groups));
        T* out = static_cast<T*>(task.out);
        std::vector<T> partial(shares > 1 ? groups * shares * area : 0);
        T* sums = shares > 1 ? partial.data() : out;
        Arena needed(nullptr);
        Correlation(task, plane, needed);
        for_each_range(groups * shares, planes * area, task.threads, needed.used(),
                       [&](Arena& arena, std::int64_t first, std::int64_t last) {
                           Correlation kernel(task, plane, arena);
                           for (std::int64_t i = first; i < last; ++i) {
                               const std::int64_t share = i % shares;
                               kernel.one_share(i / shares, members * share / shares, members * (share + 1) / shares,
                                                sums + i * area);
                           }
                       });
        if (shares == 1) return;
        for (std::int64_t group = 0; group < groups; ++group) {
            const T* from = sums + group * shares * area;
            T* to = std::copy_n(from, area, out + group * area) - area;
            for (std::int64_t share = 1; share < shares; ++share)
                for (std::int64_t i = 0; i < area; ++i) to[i] += from[share * area + i];
        }
    }

  private:
    static constexpr std::int64_t kShares = 16;  // in all: enough for the cores of most machines, few enough to add up quickly

    const CorrelationTask& task_;
    const Plane<T>& plane_;
    V *panels_[2], *spectrum_[2], *line_, *scratch_, *sum_;
    T* staged_;

    Correlation(const CorrelationTask& task, const Plane<T>& plane, Arena& arena) : task_(task), plane_(plane) {
        for (V*& panel : panels_) panel = arena.take<V>(plane.panel_vectors());
        for (V*& spectrum : spectrum_) spectrum = arena.take<V>(plane.padded_width);
        line_ = arena.take<V>(plane.padded_width);
        scratch_ = arena.take<V>(plane.scratch_vectors());
        sum_ = arena.take<V>(static_cast<std::int64_t>(plane.padded_height / L) * plane.W);
        staged_ = arena.take<T>(static_cast<std::int64_t>(plane.H) * plane.padded_width);
    }

    void one_share(std::int64_t group, std::int64_t first, std::int64_t last, T* out) {
        const std::int64_t channels = task_.sum_channels ? task_.channels : 1;
        std::fill_n(sum_, static_cast<std::int64_t>(plane_.padded_height / L) * plane_.W, V{});
        for (std::int64_t member = first; member < last; ++member) {
            const std::int64_t b = task_.sum_batch ? member / channels : group / (task_.sum_channels ? 1 : task_.channels);
            const std::int64_t c = task_.sum_channels ? member % channels : group % task_.channels;
            add_plane(b, c);
        }
        const auto& rows = plane_.columns.plan;
        const auto& columns = plane_.rows.plan;
        for (int h = 0; h < plane_.H; ++h) {
            const V* from = sum_ + static_cast<std::int64_t>(h / L) * plane_.W;
            T* to = out + static_cast<std::int64_t>(rows.frequency[h]) * plane_.W;
            for (int w = 0; w < plane_.W; ++w) to[columns.frequency[w]] = from[w][h % L] * (rows.weight[h] * columns.weight[w]);
        }
    }

    void add_plane(std::int64_t b, std::int64_t c) {
        for (int i = 0; i < 2; ++i) {
            const StagedPlane<T> image = stage(task_.dtype, plane_, i == 0 ? task_.x : task_.y, b, c, staged_);
            plane_.forward_columns(image.data, image.row_stride, panels_[i], scratch_);
        }
        V* sum = sum_;
        for (int h = 0; h < plane_.padded_height; h += L, sum += plane_.W) {
            for (int i = 0; i < 2; ++i) {
                plane_.load_rows(panels_[i], h, line_);
                plane_.rows.forward(reinterpret_cast<const T*>(line_), L, spectrum_[i], scratch_);
            }
            for (int w = 0; w < plane_.W; ++w) sum[w] += spectrum_[0][w] * spectrum_[1][w];
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// The spectral combination out = V sum_i (gain_i . V^T image_i), plane by plane.
#pragma once

#include "gains.hpp"
#include "noise.hpp"
#include "parallel.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T, class Storage>
class Combine {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    Combine(const CombineTask& task, const Plane<T>& plane, Arena& arena)
        : task_(task), plane_(plane), gains_(task, plane, arena) {
        const std::int64_t area = static_cast<std::int64_t>(plane.H) * plane.padded_width;
        // A term whose gain is one number for every sample never needs panels, but which those are is known per sample only.
        for (int i = 0; i < kTerms; ++i)
            if (i == 0 || task.term[i].data) panels_[i] = arena.take<V>(plane.panel_vectors());
        for (V** buffer : {&line_, &spectrum_, &sum_, &noise_line_}) *buffer = arena.take<V>(plane.padded_width);
        scratch_ = arena.take<V>(plane.scratch_vectors());
        staged_ = arena.take<T>(area);
        result_ = arena.take<T>(area);
        noise_ = task.draw_noise ? arena.take<T>(area + kNormalSlack + L) : nullptr;
    }

    void one_plane(std::int64_t b, std::int64_t c) {
        const Gain<T>* gain = gains_.prepare(b, c);
        const std::int64_t area = static_cast<std::int64_t>(plane_.H) * plane_.W, index = (b * task_.channels + c) * area;
        Storage* out = static_cast<Storage*>(task_.out) + index;
        const StagedPlane<T> result = target(plane_, out, result_);
        T* sum = const_cast<T*>(result.data);

        const T* noise =
            task_.draw_noise && gain[2].form != Form::kNone ? normal_run(index, area, task_.seed, noise_) : nullptr;
        bool written =
            spectral_part(gain, b, c, Gains<T>::draws_spectral_noise(task_) ? noise : nullptr, sum, result.row_stride);
        for (int i = 0; i < kTerms; ++i) {
            if (gain[i].form != Form::kNumber) continue;
            if (task_.term[i].data) {
                const StagedPlane<T> image = stage<T, Storage>(plane_, task_.term[i], b, c, staged_);
                add(image, gain[i].number, sum, result.row_stride, written);
            } else if (i == 2 && noise) {
                add({noise, plane_.W}, gain[i].number, sum, result.row_stride, written);
            } else {
                continue;
            }
            written = true;
        }
        if (!written)
            for (int h = 0; h < plane_.H; ++h) std::fill_n(sum + h * result.row_stride, plane_.W, T(0));
        emit(plane_, result, out);
    }

  private:
    const CombineTask& task_;
    const Plane<T>& plane_;
    Gains<T> gains_;
    V* panels_[kTerms] = {};
    V *line_, *spectrum_, *sum_, *scratch_, *noise_line_;
    T *staged_, *result_, *noise_;

    // The terms that need transforms, to `sum`; false where there is none.
    bool spectral_part(const Gain<T>* gain, std::int64_t b, std::int64_t c, const T* noise, T* sum, std::ptrdiff_t row_stride) {
        int terms = 0, only = 0;
        for (int i = 0; i < kTerms; ++i) {
            if (!task_.term[i].data || gain[i].form < Form::kSeparable) continue;
            const StagedPlane<T> image = stage<T, Storage>(plane_, task_.term[i], b, c, staged_);
            plane_.forward_columns(image.data, image.row_stride, panels_[i], scratch_);
            only = i;
            ++terms;
        }
        if (terms == 0 && !noise) return false;
        V* panels = panels_[only];
        const bool short_path =
            terms == 1 && !noise && gain[only].form == Form::kSeparable && !gain[only].flat_row && plane_.rows.has_filter();
        for (int h = 0; h < plane_.padded_height; h += L) {
            if (short_path) {
                plane_.load_rows(panels, h, line_);
                plane_.rows.filter(line_, load(gain[only].row + h), gain[only].column);
            } else {
                bool first = true;
                for (int i = 0; i < kTerms; ++i) {
                    if (!task_.term[i].data || gain[i].form < Form::kSeparable) continue;
                    plane_.load_rows(panels_[i], h, line_);
                    plane_.rows.forward(reinterpret_cast<const T*>(line_), L, first ? sum_ : spectrum_, scratch_);
                    weigh(gain[i], h, first ? sum_ : spectrum_, first);
                    first = false;
                }
                if (noise) add_noise(gain[2], noise, h, first);
                plane_.rows.inverse(sum_, reinterpret_cast<T*>(line_), L, scratch_);
            }
            plane_.store_rows(line_, panels, h);
        }
        plane_.inverse_columns(panels, sum, row_stride, scratch_);
        return true;
    }

    // sum_ = gain . spectrum for the first term, sum_ += gain . spectrum for the others.
    void weigh(const Gain<T>& gain, int h, const V* spectrum, bool first) {
        const auto apply = [&](auto gain_at) {
            if (first) {
                for (int w = 0; w < plane_.W; ++w) sum_[w] = spectrum[w] * gain_at(w);
            } else {
                for (int w = 0; w < plane_.W; ++w) sum_[w] += spectrum[w] * gain_at(w);
            }
        };
        if (gain.form == Form::kMap) {
            const V* map = gain.map + static_cast<std::int64_t>(h / L) * plane_.W;
            apply([=](int w) { return map[w]; });
        } else if (gain.flat_row) {
            const V row = load(gain.row + h), flat = load(gain.flat_row + h);
            apply([&, row, flat](int w) { return row * gain.column[w] + flat * gain.flat_column[w]; });
        } else {
            const V row = load(gain.row + h);
            apply([&, row](int w) { return row * gain.column[w]; });
        }
    }

    // Noise is in natural frequency order, so that its numbers do not depend on how the transform is factored.
    void add_noise(const Gain<T>& gain, const T* noise, int h, bool first) {
        plane_.gather_rows(noise, plane_.W, h, noise_line_);
        const V* map = gain.map + static_cast<std::int64_t>(h / L) * plane_.W;
        const std::int32_t* frequency = plane_.rows.plan.frequency;
        for (int w = 0; w < plane_.W; ++w) {
            const V term = map[w] * noise_line_[frequency[w]];
            sum_[w] = first ? term : sum_[w] + term;
        }
    }

    void add(const StagedPlane<T>& image, T factor, T* sum, std::ptrdiff_t row_stride, bool written) {
        for (int h = 0; h < plane_.H; ++h) {
            const T* from = image.data + h * image.row_stride;
            T* to = sum + h * row_stride;
            if (written) {
                for (int w = 0; w < plane_.W; ++w) to[w] += factor * from[w];
            } else {
                for (int w = 0; w < plane_.W; ++w) to[w] = factor * from[w];
            }
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

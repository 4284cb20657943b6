// The spectral combination out = V sum_i (gain_i . V^T image_i), plane by plane.
#pragma once

#include "gains.hpp"
#include "mix.hpp"
#include "noise.hpp"
#include "parallel.hpp"
#include "prefetch.hpp"
#include "square.hpp"

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
        for (int i = 0; i < kTerms; ++i) {
            if (i > 0 && !task.term[i].data) continue;
            panels_[i] = arena.take<V>(plane.panel_vectors());
            lines_[i] = arena.take<V>(plane.padded_width);
        }
        noise_line_ = arena.take<V>(plane.padded_width);
        scratch_ = arena.take<V>(plane.scratch_vectors());
        staged_ = arena.take<T>(area);
        result_ = arena.take<T>(area);
        noise_ = task.draw_noise ? arena.take<T>(area + kNormalSlack + L) : nullptr;
    }

    void run(std::int64_t first, std::int64_t last) {
        for (std::int64_t plane = first; plane < last; ++plane) {
            prefetch_ = Prefetch{};
            if (plane + 1 < last) look_ahead(plane + 1);
            one_plane(plane / task_.channels, plane % task_.channels);
        }
    }

  private:
    const CombineTask& task_;
    const Plane<T>& plane_;
    Gains<T> gains_;
    V *panels_[kTerms] = {}, *lines_[kTerms] = {};
    V *scratch_, *noise_line_;
    T *staged_, *result_, *noise_;
    Prefetch prefetch_;

    // While this plane's rows are worked on, the next plane's images come into the cache.
    void look_ahead(std::int64_t plane) {
        const std::int64_t area = static_cast<std::int64_t>(plane_.H) * plane_.W, bytes = area * sizeof(Storage);
        const int blocks = plane_.padded_height / L;
        for (const Image& image : task_.term)
            if (image.data && image.stride[3] == 1 && image.stride[2] == plane_.W)
                prefetch_.read(plane_of<Storage>(image, plane / task_.channels, plane % task_.channels), bytes, blocks);
        prefetch_.write(static_cast<Storage*>(task_.out) + (plane - 1) * area, bytes, blocks);
    }

    void one_plane(std::int64_t b, std::int64_t c) {
        const Gain<T>* gain = gains_.prepare(b, c);
        const std::int64_t area = static_cast<std::int64_t>(plane_.H) * plane_.W, index = (b * task_.channels + c) * area;
        Storage* out = static_cast<Storage*>(task_.out) + index;
        const StagedPlane<T> result = target(plane_, out, result_);
        T* sum = const_cast<T*>(result.data);

        const T* noise =
            task_.draw_noise && gain[2].form != Form::kNone ? normal_run(index, area, task_.seed, noise_) : nullptr;
        bool written = spectral_part(gain, b, c, draws_spectral_noise(task_) ? noise : nullptr, sum, result.row_stride);
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

    // The terms that need transforms, to `sum`; false where there is none.
    bool spectral_part(const Gain<T>* gain, std::int64_t b, std::int64_t c, const T* noise, T* sum, std::ptrdiff_t row_stride) {
        const Gain<T>* gains[kTerms];
        V* panels[kTerms];
        int terms = 0;
        for (int i = 0; i < kTerms; ++i) {
            if (!task_.term[i].data || gain[i].form < Form::kSeparable) continue;
            const StagedPlane<T> image = stage<T, Storage>(plane_, task_.term[i], b, c, staged_);
            if (only_one_separable(gain) && !gain[i].flat_row &&
                square_filter(plane_, image, gain[i].row, gain[i].column, prefetch_, sum, row_stride, panels_[i]))
                return true;
            plane_.forward_columns(image.data, image.row_stride, panels_[i], scratch_);
            gains[terms] = &gain[i];
            panels[terms++] = panels_[i];
        }
        if (terms == 0 && !noise) return false;
        if (terms == 0) {  // noise alone: beside an image of zeros
            std::fill_n(panels_[0], plane_.panel_vectors(), V{});
            gains[terms] = &gain[2];
            panels[terms++] = panels_[0];
        }
        switch (terms) {
            case 1:
                if (gains[0]->form == Form::kSeparable) {
                    separable_rows(*gains[0], panels);
                } else {
                    map_rows<1>(gains, panels, gain[2], noise);
                }
                break;
            case 2: map_rows<2>(gains, panels, gain[2], noise); break;
            default: map_rows<3>(gains, panels, gain[2], noise); break;
        }
        plane_.inverse_columns(panels[0], sum, row_stride, scratch_);
        return true;
    }

    static bool only_one_separable(const Gain<T>* gain) {
        return gain[0].form == Form::kSeparable && gain[1].form == Form::kNone && gain[2].form != Form::kMap;
    }

    void separable_rows(const Gain<T>& gain, V* const* panels) {
        if (gain.flat_row) {
            rows<1>(panels, [&](int h) {
                return FlooredMix<T>{load(gain.row + h), load(gain.flat_row + h), gain.column, gain.flat_column};
            });
        } else {
            rows<1>(panels, [&](int h) { return SeparableMix<T>{load(gain.row + h), gain.column}; });
        }
    }

    template <int Terms>
    void map_rows(const Gain<T>* const* gains, V* const* panels, const Gain<T>& noise_gain, const T* noise) {
        const auto maps = [&](int h) {
            MapMix<T, Terms> mix;
            for (int i = 0; i < Terms; ++i) mix.map[i] = gains[i]->map + static_cast<std::int64_t>(h / L) * plane_.W;
            return mix;
        };
        if (!noise) return rows<Terms>(panels, maps);
        rows<Terms>(panels, [&](int h) {
            plane_.gather_rows(noise, plane_.W, h, noise_line_);
            return NoisyMix<T, Terms>{maps(h), noise_gain.map + static_cast<std::int64_t>(h / L) * plane_.W, noise_line_,
                                      plane_.rows.plan.frequency};
        });
    }

    // The rows of all panels through the transform, mix_at(h) and the inverse, to panels[0].
    template <int Terms, class MixAt>
    void rows(V* const* panels, MixAt mix_at) {
        for (int h = 0; h < plane_.padded_height; h += L) {
            for (int i = 0; i < Terms; ++i) plane_.load_rows(panels[i], h, lines_[i]);
            prefetch_.next();
            plane_.rows.template combine<Terms>(lines_, scratch_, mix_at(h));
            plane_.store_rows(lines_[0], panels[0], h);
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

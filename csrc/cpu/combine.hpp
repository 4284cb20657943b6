// The spectral combination out = V sum_i (gain_i . V^T image_i), plane by plane.
#pragma once

#include "gains.hpp"
#include "mix.hpp"
#include "noise_rows.hpp"
#include "parallel.hpp"
#include "square.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T, class Storage>
class Combine {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    Combine(const CombineTask& task, const Plane<T>& plane, Arena& arena)
        : task_(task), plane_(plane), gains_(task, plane, arena), noise_rows_(plane.columns.plan, plane.H, plane.W, task.seed) {
        const std::int64_t area = static_cast<std::int64_t>(plane.H) * plane.padded_width;
        for (int i = 0; i < kTerms; ++i) {
            const bool given = task.term[i].data, transformed = i == 0 || (given && follows_frequency(task, i));
            panels_[i] = transformed ? arena.take<V>(plane.panel_vectors()) : nullptr;
            lines_[i] = transformed ? arena.take<V>(plane.padded_width) : nullptr;
            staged_[i] = given && needs_copy<T, Storage>(plane, task.term[i]) ? arena.take<T>(area + L) : nullptr;
        }
        noise_line_ = arena.take<V>(plane.padded_width);
        scratch_ = arena.take<V>(plane.scratch_vectors());
        result_ = std::is_same_v<T, Storage> && !plane.narrow() ? nullptr : arena.take<T>(area + L);
        noise_ = task.draw_noise ? arena.take<T>(area + kNormalSlack + L) : nullptr;
    }

    void run(std::int64_t first, std::int64_t last) {
        for (std::int64_t plane = first; plane < last; ++plane) {
            next_ = std::min(plane + 1, last - 1);
            one_plane(plane / task_.channels, plane % task_.channels);
        }
    }

  private:
    const CombineTask& task_;
    const Plane<T>& plane_;
    Gains<T> gains_;
    const NoiseRows<T> noise_rows_;
    V *panels_[kTerms], *lines_[kTerms];
    V *scratch_, *noise_line_;
    T *staged_[kTerms], *result_, *noise_;
    std::int64_t next_ = 0;  // the plane after this one
    // Its images, in the order of the terms that are transformed; null where they are not fetched.
    const Storage* ahead_[kTerms];
    Storage* out_ = nullptr;  // of this plane
    std::int64_t first_ = 0;  // the number of its first element

    using Read = BlockFetch<FetchFor::kRead, Storage, L>;
    using ReadLater = BlockFetch<FetchFor::kReadLater, Storage, L>;
    using Write = BlockFetch<FetchFor::kWrite, Storage, L>;

    std::int64_t area() const { return static_cast<std::int64_t>(plane_.H) * plane_.W; }
    const T* draw() const { return normal_run(first_, area(), task_.seed, noise_); }

    void one_plane(std::int64_t b, std::int64_t c) {
        const Gain<T>* gain = gains_.prepare(b, c);
        first_ = (b * task_.channels + c) * area();
        out_ = static_cast<Storage*>(task_.out) + first_;
        const bool noisy = task_.draw_noise && gain[2].form != Form::kNone;
        V* spectral = spectral_part(gain, b, c, noisy && draws_spectral_noise(task_));
        Addends<T> addends;
        for (int i = 0; i < kTerms; ++i) {
            if (gain[i].form != Form::kNumber) continue;
            if (task_.term[i].data) {
                addends.add(stage<T, Storage>(plane_, task_.term[i], b, c, staged_[i]), gain[i].number);
            } else if (i == 2 && noisy) {
                addends.add({draw(), plane_.W}, gain[i].number);
            }
        }
        if (spectral) {
            write(spectral, addends);
        } else {
            write_addends(addends);
        }
    }

    // The panels with the sum of the terms that need transforms; null where there is none.
    V* spectral_part(const Gain<T>* gain, std::int64_t b, std::int64_t c, bool noise) {
        const Gain<T>* gains[kTerms];
        V* panels[kTerms];
        int terms = 0;
        for (int i = 0; i < kTerms; ++i) {
            if (!task_.term[i].data || gain[i].form < Form::kSeparable) continue;
            forward(task_.term[i], b, c, staged_[i], panels_[i]);
            gains[terms] = &gain[i];
            ahead_[terms] = fetched_plane<Storage>(plane_, task_.term[i], next_ / task_.channels, next_ % task_.channels);
            panels[terms++] = panels_[i];
        }
        if (terms == 0 && !noise) return nullptr;
        if (terms == 0) {  // noise alone: beside an image of zeros
            std::fill_n(panels_[0], plane_.panel_vectors(), V{});
            ahead_[terms] = nullptr;
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
        return panels[0];
    }

    // Down the columns of an image, to `panels`; of 16 bits too where it is, if it is a square or rows of numbers.
    void forward(const Image& image, std::int64_t b, std::int64_t c, T* copy, V* panels) {
        if constexpr (!std::is_same_v<T, Storage>) {
            const auto* own = plane_of<Storage>(image, b, c);
            if (image.stride[3] == 1 && image.stride[2] == plane_.W &&
                with_square(plane_, [&](auto square) { square.forward_columns(own, panels); }))
                return;
            if (image.stride[3] == 1 && !plane_.narrow())
                return plane_.forward_columns(own, image.stride[2], panels, scratch_, result_);
        }
        forward_columns(plane_, stage<T, Storage>(plane_, image, b, c, copy), panels, scratch_);
    }

    // The sum of the terms in the panels and of the addends.
    void write(V* panels, const Addends<T>& addends) {
        if (addends.count == 0 && with_square(plane_, [&](auto square) { square.inverse_columns(panels, out_); })) return;
        if constexpr (!std::is_same_v<T, Storage>)
            if (addends.count == 0 && !plane_.narrow())
                return plane_.inverse_columns(panels, out_, plane_.W, scratch_, result_);
        const StagedPlane<T> result = target(plane_, out_, result_);
        T* sum = const_cast<T*>(result.data);
        switch (addends.count) {
            case 0: plane_.inverse_columns(panels, sum, result.row_stride, scratch_); break;
            case 1: write_sum<1>(panels, addends, sum, result.row_stride); break;
            default: write_sum<2>(panels, addends, sum, result.row_stride); break;
        }
        emit(plane_, result, out_);
    }

    template <int Count>
    void write_sum(V* panels, const Addends<T>& addends, T* sum, std::ptrdiff_t row_stride) {
        bool rows_of_width = row_stride == plane_.W;
        for (int k = 0; k < Count; ++k) rows_of_width &= addends.image[k].row_stride == plane_.W;
        if (rows_of_width &&
            with_square(plane_, [&](auto square) { square.template inverse_columns<Count>(panels, addends, sum); }))
            return;
        plane_.template inverse_columns<Count>(panels, addends, sum, row_stride, scratch_);
    }

    void write_addends(const Addends<T>& addends) {
        const StagedPlane<T> result = target(plane_, out_, result_);
        for (int h = 0; h < plane_.H; ++h) {
            T* to = const_cast<T*>(result.data) + h * result.row_stride;
            std::fill_n(to, plane_.W, T(0));
            for (int k = 0; k < addends.count; ++k) {
                const T* from = addends.image[k].data + h * addends.image[k].row_stride;
                for (int w = 0; w < plane_.W; ++w) to[w] += addends.factor[k] * from[w];
            }
        }
        emit(plane_, result, out_);
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
    void map_rows(const Gain<T>* const* gains, V* const* panels, const Gain<T>& noise_gain, bool noise) {
        const auto maps = [&](int h) {
            MapMix<T, Terms> mix;
            for (int i = 0; i < Terms; ++i) mix.map[i] = gains[i]->map + static_cast<std::int64_t>(h / L) * plane_.W;
            return mix;
        };
        if (!noise) return rows<Terms>(panels, maps);
        const T* drawn = noise_rows_.draws(first_) ? nullptr : draw();
        rows<Terms>(panels, [&](int h) {
            if (drawn) {
                plane_.gather_rows(drawn, plane_.W, h, noise_line_);
            } else {
                noise_rows_.draw(first_, h, noise_line_);
            }
            return NoisyMix<T, Terms>{maps(h), noise_gain.map + static_cast<std::int64_t>(h / L) * plane_.W, noise_line_,
                                      plane_.rows.plan.frequency};
        });
    }

    // The rows of all panels through the transform, mix_at(h) and the inverse, to panels[0].
    template <int Terms, class MixAt>
    void rows(V* const* panels, MixAt mix_at) {
        const bool fetches_out = !plane_.fetches_panels() && plane_.template fetches_planes<Storage>();
        for (int h = 0; h < plane_.padded_height; h += L) {
            const auto mix = mix_at(h);
            if constexpr (Terms < kTerms)
                if (with_square(plane_, [&](auto square) { square_rows<Terms>(square, panels, h, mix); })) continue;
            for (int i = 0; i < Terms; ++i) {
                if (plane_.fetches_panels()) {
                    plane_.load_rows(panels[i], h, lines_[i], ReadLater{ahead_[i]});
                } else {
                    plane_.load_rows(panels[i], h, lines_[i], Read{ahead_[i]});
                }
            }
            plane_.rows.template combine<Terms>(lines_, scratch_, mix);
            plane_.store_rows(lines_[0], panels[0], h, Write{fetches_out ? out_ : nullptr});
        }
    }

    template <int Terms, class Square, class Mix>
    void square_rows(Square square, V* const* panels, int h, Mix mix) {
        RowsFetch<Storage, L, Terms> fetch{out_, {}};
        // The panels themselves are in the cache: to fetch them costs next to nothing.
        for (int i = 0; i < Terms; ++i) fetch.read[i] = ahead_[i] ? ahead_[i] : reinterpret_cast<const Storage*>(panels[i]);
        square.template filter_rows<Terms>(panels, h, mix, fetch);
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

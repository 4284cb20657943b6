// The spectral combination out = V sum_i (gain_i . V^T image_i), plane by plane.
#pragma once

#include "parallel.hpp"
#include "row_stage.hpp"
#include "staging.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
class Combine {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    Combine(const CombineTask& task, const Plane<T>& plane, Arena& arena)
        : task_(task), plane_(plane), gains_(task, plane, arena), row_stage_(task, plane, arena) {
        const std::int64_t area = static_cast<std::int64_t>(plane.H) * plane.padded_width;
        for (int i = 0; i < kTerms; ++i) {
            panels_[i] = needs_spectrum(task, i) ? arena.take<V>(plane.panel_vectors()) : nullptr;
            staged_[i] = task.term[i].data && needs_copy(task.dtype, plane, task.term[i]) ? arena.take<T>(area + L) : nullptr;
        }
        result_ = stores<T>(task.dtype) && !plane.narrow() ? nullptr : arena.take<T>(area + L);
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
    RowStage<T> row_stage_;
    V* panels_[kTerms];
    T *staged_[kTerms], *result_;
    std::int64_t next_ = 0;   // the plane after this one
    std::int64_t first_ = 0;  // the number of this plane's first element
    void* out_ = nullptr;     // its result

    void one_plane(std::int64_t b, std::int64_t c) {
        const Gain<T>* gain = gains_.prepare(b, c);
        first_ = (b * task_.channels + c) * plane_.H * plane_.W;
        out_ = static_cast<char*>(task_.out) + first_ * element_bytes(task_.dtype);
        const bool noisy = task_.draw_noise && gain[2].form != Form::kNone;
        V* spectral = spectral_part(gain, b, c, noisy && draws_spectral_noise(task_));
        Addends<T> addends;
        for (int i = 0; i < kTerms; ++i) {
            if (gain[i].form != Form::kNumber) continue;
            if (task_.term[i].data) {
                addends.add(stage(task_.dtype, plane_, task_.term[i], b, c, staged_[i]), gain[i].number);
            } else if (i == 2 && noisy) {
                addends.add({row_stage_.draw(first_), plane_.W}, gain[i].number);
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
        RowTerms<T> terms;
        for (int i = 0; i < kTerms; ++i) {
            if (!task_.term[i].data || gain[i].form < Form::kSeparable) continue;
            forward(task_.term[i], b, c, staged_[i], panels_[i]);
            terms.add(panels_[i], gain[i],
                      fetched_plane(task_.dtype, plane_, task_.term[i], next_ / task_.channels, next_ % task_.channels));
        }
        if (terms.count == 0) {
            if (!noise) return nullptr;
            std::fill_n(panels_[0], plane_.panel_vectors(), V{});  // noise alone: beside an image of zeros
            terms.add(panels_[0], gain[2], {});
        }
        row_stage_.run(terms, noise ? &gain[2] : nullptr, first_, fetched(out_, 0, task_.dtype));
        return terms.panels[0];
    }

    // Down the columns of an image, to `panels`; from where it is, if its rows are numbers one after the other.
    void forward(const Image& image, std::int64_t b, std::int64_t c, T* copy, V* panels) {
        if (image.stride[3] != 1 || plane_.narrow())
            return forward_columns(plane_, stage(task_.dtype, plane_, image, b, c, copy), panels, row_stage_.scratch());
        with_storage<T>(task_.dtype, [&](auto storage) {
            using Storage = decltype(storage);
            const StagedPlane<Storage> own{plane_of<Storage>(image, b, c), image.stride[2]};
            forward_columns(plane_, own, panels, row_stage_.scratch(), result_);
        });
    }

    // The sum of the terms in the panels and of the addends.
    void write(V* panels, const Addends<T>& addends) {
        if (addends.count == 0 && !plane_.narrow())
            return with_storage<T>(task_.dtype, [&](auto storage) {
                inverse_columns(plane_, panels, static_cast<decltype(storage)*>(out_), row_stage_.scratch(), result_);
            });
        const StagedPlane<T> result = target(task_.dtype, plane_, out_, result_);
        T* sum = const_cast<T*>(result.data);
        switch (addends.count) {
            case 0: plane_.inverse_columns(panels, sum, result.row_stride, row_stage_.scratch()); break;
            case 1: write_sum<1>(panels, addends, sum, result.row_stride); break;
            default: write_sum<2>(panels, addends, sum, result.row_stride); break;
        }
        emit(task_.dtype, plane_, result, out_);
    }

    template <int Count>
    void write_sum(V* panels, const Addends<T>& addends, T* sum, std::ptrdiff_t row_stride) {
        bool rows_of_width = row_stride == plane_.W;
        for (int k = 0; k < Count; ++k) rows_of_width &= addends.image[k].row_stride == plane_.W;
        if (rows_of_width &&
            with_square(plane_, [&](auto square) { square.template inverse_columns<Count>(panels, addends, sum); }))
            return;
        plane_.template inverse_columns<Count>(panels, addends, sum, row_stride, row_stage_.scratch());
    }

    void write_addends(const Addends<T>& addends) {
        const StagedPlane<T> result = target(task_.dtype, plane_, out_, result_);
        for (int h = 0; h < plane_.H; ++h) {
            T* to = const_cast<T*>(result.data) + h * result.row_stride;
            std::fill_n(to, plane_.W, T(0));
            for (int k = 0; k < addends.count; ++k) {
                const T* from = addends.image[k].data + h * addends.image[k].row_stride;
                for (int w = 0; w < plane_.W; ++w) to[w] += addends.factor[k] * from[w];
            }
        }
        emit(task_.dtype, plane_, result, out_);
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// out = V (gain . V^T image) where the gain is a product of one along the columns and one along the rows, as a blur's is: a
// filter down each column, then one along each row, two passes over the plane in place of three. What is added, noise and,
// where the blur has a floor, the image itself, is added as the rows are written.
#pragma once

#include <optional>

#include "gains.hpp"
#include "noise.hpp"
#include "parallel.hpp"
#include "row_filter.hpp"
#include "square.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
class SeparableFilter {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    // Whether this is what a task asks for, and the faster way, by measurement: where rows need not be turned, and large
    // planes.
    static bool fits(const CombineTask& task) {
        const bool separable = task.kind == GainKind::kLevel && task.power == 1 && task.term[0].data;
        const bool large = task.width >= L && task.height * task.width >= kLarge;
        return separable && (large || RowFilter<T>::fits(task.height, task.width));
    }

    SeparableFilter(const CombineTask& task, const Plane<T>& plane, Arena& arena)
        : task_(task),
          plane_(plane),
          gains_(task, plane, arena),
          row_step_(RowFilter<T>::fits(plane.H, plane.W) ? RowFilter<T>::kSide : L),
          panel_step_(row_step_ == L ? std::ptrdiff_t{plane.panel_stride} * L : L) {
        const std::int64_t area = static_cast<std::int64_t>(plane.H) * plane.padded_width;
        if (row_step_ != L) row_filter_.emplace(plane.W, arena);
        columns_ = arena.take<T>(row_filter_ ? row_step_ * plane.H : plane.panel_vectors() * L);
        line_ = arena.take<V>(plane.padded_width);
        scratch_ = arena.take<V>(plane.scratch_vectors());
        for (int i : {0, 2})
            staged_[i] = task.term[i].data && needs_copy(task.dtype, plane, task.term[i]) ? arena.take<T>(area + L) : nullptr;
        converted_ = stores<T>(task.dtype) ? nullptr : arena.take<T>(std::int64_t{2} * plane.H * L);
        noise_ = task.draw_noise ? arena.take<T>(area + kNormalSlack + L) : nullptr;
    }

    void run(std::int64_t first, std::int64_t last) {
        for (std::int64_t plane = first; plane < last; ++plane) {
            next_ = std::min(plane + 1, last - 1);
            one_plane(plane / task_.channels, plane % task_.channels, plane * plane_.H * plane_.W);
        }
    }

  private:
    using Read = BlockFetch<FetchFor::kRead>;
    using Write = BlockFetch<FetchFor::kWrite>;

    static constexpr std::int64_t kLarge = 32768;

    const CombineTask& task_;
    const Plane<T>& plane_;
    Gains<T> gains_;
    const std::ptrdiff_t row_step_, panel_step_;  // between the passes: panels, or rows for a RowFilter
    std::optional<RowFilter<T>> row_filter_;      // where rows are not turned
    T* columns_;
    V *line_, *scratch_;
    T *staged_[kTerms], *converted_, *noise_;
    std::int64_t next_ = 0;  // the plane after this one

    // The plane begins with element `first` of the tensor.
    void one_plane(std::int64_t b, std::int64_t c, std::int64_t first) {
        const Gain<T>* gain = gains_.prepare(b, c);
        Addends<T> addends;
        const bool floored = gain[0].flat != 0, copied = task_.term[0].stride[3] != 1;
        const StagedPlane<T> image = floored || copied ? staged(0, b, c) : StagedPlane<T>{};
        if (floored) addends.add(image, gain[0].flat);
        if (gain[2].form == Form::kNumber) {
            if (task_.term[2].data) {
                addends.add(staged(2, b, c), gain[2].number);
            } else if (task_.draw_noise) {
                addends.add({normal_run(first, static_cast<std::int64_t>(plane_.H) * plane_.W, task_.seed, noise_), plane_.W},
                            gain[2].number);
            }
        }
        columns(b, c, copied ? &image : nullptr, gain[0].row);
        void* out = static_cast<char*>(task_.out) + first * element_bytes(task_.dtype);
        with_storage<T>(task_.dtype,
                        [&](auto storage) { rows(gain[0].column, addends, static_cast<decltype(storage)*>(out)); });
    }

    StagedPlane<T> staged(int term, std::int64_t b, std::int64_t c) const {
        return stage(task_.dtype, plane_, task_.term[term], b, c, staged_[term]);
    }

    // From `copy`, or from where the image is.
    void columns(std::int64_t b, std::int64_t c, const StagedPlane<T>* copy, const T* gain) const {
        if (copy) return filter_columns(copy->data, copy->row_stride, gain);
        const Image& image = task_.term[0];
        with_storage<T>(task_.dtype,
                        [&](auto storage) { filter_columns(plane_of<decltype(storage)>(image, b, c), image.stride[2], gain); });
    }

    template <class Storage>
    void filter_columns(const Storage* x, std::ptrdiff_t row_stride, const T* gain) const {
        bool done = false;
        if (row_stride == plane_.W)
            with_square(plane_, [&](auto square) {
                if constexpr (decltype(square)::kRowFilter) {
                    square.filter_columns(x, gain, columns_);
                    done = true;
                }
            });
        if (!done) plane_.filter_columns(x, row_stride, gain, columns_, panel_step_, row_step_, scratch_, converted_);
    }

    template <class Storage>
    void rows(const T* gain, const Addends<T>& addends, Storage* out) {
        const FetchedPlane next =
            fetched_plane(task_.dtype, plane_, task_.term[0], next_ / task_.channels, next_ % task_.channels);
        if constexpr (RowFilter<T>::kUsed)
            if (row_filter_) return short_rows(gain, addends, out, next);
        turned_rows(gain, addends, out, next);
    }

    template <class Storage>
    void turned_rows(const T* gain, const Addends<T>& addends, Storage* out, FetchedPlane next) {
        const FetchedPlane written = fetched(out, 0, task_.dtype);
        T* line = reinterpret_cast<T*>(line_);
        for (int h = 0; h < plane_.H; h += L) {
            plane_.load_rows(reinterpret_cast<V*>(columns_), h, line_, Write{written});
            plane_.rows.filter(line, L, gain, line, L, scratch_);
            switch (addends.count) {
                case 0: plane_.template put_rows<0>(line_, h, addends, out, Read{next}); break;
                case 1: plane_.template put_rows<1>(line_, h, addends, out, Read{next}); break;
                default: plane_.template put_rows<2>(line_, h, addends, out, Read{next}); break;
            }
        }
    }

    template <class Storage>
    void short_rows(const T* gain, const Addends<T>& addends, Storage* out, FetchedPlane next) {
        if (gains_.changed()) row_filter_->prepare(gain);
        // Where nothing is fetched, the plane itself: it is in the cache and costs next to nothing.
        const char* ahead = next.data ? next.data : reinterpret_cast<const char*>(out);
        switch (addends.count) {
            case 0: return row_filter_->template run<0>(columns_, plane_.H, addends, out, ahead);
            case 1: return row_filter_->template run<1>(columns_, plane_.H, addends, out, ahead);
            default: return row_filter_->template run<2>(columns_, plane_.H, addends, out, ahead);
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

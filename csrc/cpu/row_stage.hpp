// The middle of the spectral combination: panels of columns that are transformed, to one panel with the sum of all terms.
#pragma once

#include "gains.hpp"
#include "mix.hpp"
#include "noise_rows.hpp"
#include "square.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// The terms of a plane that are transformed, and for each the plane after it.
template <class T>
struct RowTerms {
    int count = 0;
    Vec<T>* panels[kTerms];
    const Gain<T>* gain[kTerms];
    FetchedPlane ahead[kTerms];

    void add(Vec<T>* columns, const Gain<T>& its_gain, FetchedPlane next) {
        panels[count] = columns;
        gain[count] = &its_gain;
        ahead[count++] = next;
    }
};

template <class T>
class RowStage {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    RowStage(const CombineTask& task, const Plane<T>& plane, Arena& arena)
        : plane_(plane), noise_rows_(plane.columns.plan, plane.H, plane.W, task.seed), seed_(task.seed) {
        for (int i = 0; i < kTerms; ++i) lines_[i] = needs_spectrum(task, i) ? arena.take<V>(plane.padded_width) : nullptr;
        noise_line_ = arena.take<V>(plane.padded_width);
        scratch_ = arena.take<V>(plane.scratch_vectors());
        noise_ = task.draw_noise ? arena.take<T>(area() + kNormalSlack + L) : nullptr;
    }

    // To panels[0]. `noise`, where it is given, is the gain of noise drawn in the DCT basis. The plane begins with element
    // `first` of the tensor, and with element 0 of `out`, which is fetched.
    void run(const RowTerms<T>& terms, const Gain<T>* noise, std::int64_t first, FetchedPlane out) {
        switch (terms.count) {
            case 1:
                if (terms.gain[0]->form != Form::kSeparable) {
                    map_rows<1>(terms, noise, first, out);
                } else if (terms.gain[0]->flat_row) {
                    floored_rows(terms, out);
                } else {
                    separable_rows(terms, out);
                }
                break;
            case 2: map_rows<2>(terms, noise, first, out); break;
            default: map_rows<3>(terms, noise, first, out); break;
        }
    }

    // The noise of the plane that begins with element `first`, as rows of numbers.
    const T* draw(std::int64_t first) const { return normal_run(first, area(), seed_, noise_); }

    V* scratch() const { return scratch_; }

  private:
    const Plane<T>& plane_;
    const NoiseRows<T> noise_rows_;
    const std::uint64_t seed_;
    V *lines_[kTerms], *noise_line_, *scratch_;
    T* noise_;

    using Read = BlockFetch<FetchFor::kRead>;
    using ReadLater = BlockFetch<FetchFor::kReadLater>;
    using Write = BlockFetch<FetchFor::kWrite>;

    std::int64_t area() const { return static_cast<std::int64_t>(plane_.H) * plane_.W; }

    void separable_rows(const RowTerms<T>& terms, FetchedPlane out) {
        const Gain<T>& gain = *terms.gain[0];
        rows<1>(terms, out, [&](int h) { return SeparableMix<T>{load(gain.row + h), gain.column}; });
    }

    void floored_rows(const RowTerms<T>& terms, FetchedPlane out) {
        const Gain<T>& gain = *terms.gain[0];
        rows<1>(terms, out, [&](int h) {
            return FlooredMix<T>{load(gain.row + h), load(gain.flat_row + h), gain.column, gain.flat_column};
        });
    }

    template <int Terms>
    void map_rows(const RowTerms<T>& terms, const Gain<T>* noise, std::int64_t first, FetchedPlane out) {
        const auto map_of = [&](const Gain<T>& gain, int h) { return gain.map + static_cast<std::int64_t>(h / L) * plane_.W; };
        const auto maps = [&](int h) {
            MapMix<T, Terms> mix;
            for (int i = 0; i < Terms; ++i) mix.map[i] = map_of(*terms.gain[i], h);
            return mix;
        };
        if (!noise) return rows<Terms>(terms, out, maps);
        const T* drawn = noise_rows_.draws(first) ? nullptr : draw(first);
        rows<Terms>(terms, out, [&](int h) {
            if (drawn) {
                plane_.gather_rows(drawn, plane_.W, h, noise_line_);
            } else {
                noise_rows_.draw(first, h, noise_line_);
            }
            return NoisyMix<T, Terms>{maps(h), map_of(*noise, h), noise_line_, plane_.rows.plan.frequency};
        });
    }

    // The rows of all panels through the transform, mix_at(h) and the inverse, to panels[0].
    template <int Terms, class MixAt>
    void rows(const RowTerms<T>& terms, FetchedPlane out, MixAt mix_at) {
        const bool fetches_out = !plane_.fetches_panels() && plane_.fetches_planes(out.element);
        for (int h = 0; h < plane_.padded_height; h += L) {
            const auto mix = mix_at(h);
            if constexpr (Terms < kTerms)
                if (with_square(plane_, [&](auto square) { square_rows<Terms>(square, terms, out, h, mix); })) continue;
            for (int i = 0; i < Terms; ++i) {
                if (plane_.fetches_panels()) {
                    plane_.load_rows(terms.panels[i], h, lines_[i], ReadLater{terms.ahead[i]});
                } else {
                    plane_.load_rows(terms.panels[i], h, lines_[i], Read{terms.ahead[i]});
                }
            }
            plane_.rows.template combine<Terms>(lines_, scratch_, mix);
            plane_.store_rows(lines_[0], terms.panels[0], h, Write{fetches_out ? out : FetchedPlane{}});
        }
    }

    template <int Terms, class Square, class Mix>
    void square_rows(Square square, const RowTerms<T>& terms, FetchedPlane out, int h, Mix mix) {
        RowsFetch<Terms> fetch{out.data, {}, out.element};
        // The panels themselves are in the cache: to fetch them costs next to nothing.
        for (int i = 0; i < Terms; ++i)
            fetch.read[i] = terms.ahead[i].data ? terms.ahead[i].data : reinterpret_cast<const char*>(terms.panels[i]);
        square.template filter_rows<Terms>(terms.panels, h, mix, fetch);
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

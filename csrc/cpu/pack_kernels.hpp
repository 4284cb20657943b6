// The spectral combination and the plain transforms of planes narrower than a vector (pack.hpp).
#pragma once

#include "mix.hpp"
#include "noise.hpp"
#include "pack_gains.hpp"
#include "parallel.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Calls group(first, planes) for the planes first .. last - 1, kLanes at a time.
template <class T, class Group>
inline void for_each_pack(std::int64_t first, std::int64_t last, Group group) {
    for (std::int64_t plane = first; plane < last; plane += kLanes<T>)
        group(plane, static_cast<int>(std::min<std::int64_t>(kLanes<T>, last - plane)));
}

template <class T>
class PackCombine {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    PackCombine(const CombineTask& task, const Pack<T>& pack, Arena& arena)
        : task_(task), pack_(pack), gains_(task, pack, arena) {
        for (int i = 0; i < kTerms; ++i) {
            packed_[i] = i == 0 || task.term[i].data || (i == 2 && task.draw_noise) ? arena.take<V>(pack.area) : nullptr;
            spectra_[i] = needs_spectrum(task, i) ? arena.take<V>(pack.area) : nullptr;
            lines_[i] = arena.take<V>(pack.W);
        }
        scratch_ = arena.take<V>(pack.scratch_vectors());
        copy_ = arena.take<T>(static_cast<std::int64_t>(L) * pack.area);
        noise_ = task.draw_noise ? arena.take<T>(static_cast<std::int64_t>(L) * pack.area + kNormalSlack) : nullptr;
    }

    void run(std::int64_t first, std::int64_t last) {
        for_each_pack<T>(first, last, [this](std::int64_t plane, int planes) { group(plane, planes); });
    }

  private:
    const CombineTask& task_;
    const Pack<T>& pack_;
    PackGains<T> gains_;
    V *packed_[kTerms], *spectra_[kTerms], *lines_[kTerms], *scratch_;
    T *copy_, *noise_;

    void group(std::int64_t first, int planes) {
        gains_.prepare(first, planes);
        const T* from[L];
        for (int i = 0; i < kTerms; ++i) {
            if (!task_.term[i].data) continue;
            stage_pack(task_.dtype, pack_, task_.term[i], task_.channels, first, planes, copy_, from);
            pack_.pack(from, planes, packed_[i]);
        }
        if (task_.draw_noise) {
            const T* run = normal_run(first * pack_.area, static_cast<std::int64_t>(planes) * pack_.area, task_.seed, noise_);
            for (int lane = 0; lane < planes; ++lane) from[lane] = run + static_cast<std::ptrdiff_t>(lane) * pack_.area;
            pack_.pack(from, planes, packed_[2]);
        }
        V* sum = spectral_part();
        for (int i = 1; i < kTerms; ++i) {
            if (gains_.map[i] || !packed_[i]) continue;
            for (int k = 0; k < pack_.area; ++k) sum[k] += gains_.number[i] * packed_[i][k];
        }
        emit_pack(task_.dtype, pack_, sum, first, planes, copy_, task_.out);
    }

    // The terms with maps, as packed values; zeros where there is none.
    V* spectral_part() {
        const V* maps[kTerms];
        V* spectra[kTerms];
        int terms = 0;
        for (int i = 0; i < kTerms; ++i) {
            if (!task_.term[i].data || !gains_.map[i]) continue;
            pack_.forward_columns(packed_[i], spectra_[i], scratch_);
            spectra[terms] = spectra_[i];
            maps[terms++] = gains_.map[i];
        }
        const bool noisy = draws_spectral_noise(task_);
        V* sum = packed_[0];
        if (terms == 0) {
            std::fill_n(sum, pack_.area, V{});
            if (!noisy) return sum;
            std::fill_n(spectra_[0], pack_.area, V{});  // noise alone: beside an image of zeros
            spectra[terms] = spectra_[0];
            maps[terms++] = gains_.map[2];
        }
        switch (terms) {
            case 1: rows<1>(spectra, maps, noisy); break;
            case 2: rows<2>(spectra, maps, noisy); break;
            default: rows<3>(spectra, maps, noisy); break;
        }
        pack_.inverse_columns(spectra[0], sum, scratch_);
        return sum;
    }

    template <int Terms>
    void rows(V* const* spectra, const V* const* maps, bool noisy) {
        for (int h = 0; h < pack_.H; ++h) {
            for (int i = 0; i < Terms; ++i) pack_.load_row(spectra[i], h, lines_[i]);
            MapMix<T, Terms> mix;
            for (int i = 0; i < Terms; ++i) mix.map[i] = maps[i] + h * pack_.W;
            if (noisy) {
                const V* noise = packed_[2] + static_cast<std::ptrdiff_t>(pack_.columns.plan.frequency[h]) * pack_.W;
                pack_.rows.template combine<Terms>(
                    lines_, scratch_, NoisyMix<T, Terms>{mix, gains_.map[2] + h * pack_.W, noise, pack_.rows.plan.frequency});
            } else {
                pack_.rows.template combine<Terms>(lines_, scratch_, mix);
            }
            pack_.store_row(lines_[0], h, spectra[0]);
        }
    }
};

// DCT-II or its inverse over the last two dimensions, natural frequency order, orthonormal.
template <class T>
class PackTransform {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    PackTransform(const TransformTask& task, const Pack<T>& pack, Arena& arena) : task_(task), pack_(pack) {
        for (V** buffer : {&packed_, &spectra_}) *buffer = arena.take<V>(pack.area);
        for (V** buffer : {&line_, &spectrum_}) *buffer = arena.take<V>(pack.W);
        scratch_ = arena.take<V>(pack.scratch_vectors());
        copy_ = arena.take<T>(static_cast<std::int64_t>(L) * pack.area);
    }

    void run(std::int64_t first, std::int64_t last) {
        for_each_pack<T>(first, last, [this](std::int64_t plane, int planes) { group(plane, planes); });
    }

  private:
    const TransformTask& task_;
    const Pack<T>& pack_;
    V *packed_, *spectra_, *line_, *spectrum_, *scratch_;
    T* copy_;

    void group(std::int64_t first, int planes) {
        const T* from[L];
        stage_pack(task_.dtype, pack_, task_.input, task_.channels, first, planes, copy_, from);
        pack_.pack(from, planes, packed_);
        const auto &vertical = pack_.columns.plan, &horizontal = pack_.rows.plan;
        if (!task_.inverse) pack_.forward_columns(packed_, spectra_, scratch_);
        for (int h = 0; h < pack_.H; ++h) {
            V* natural = packed_ + static_cast<std::ptrdiff_t>(vertical.frequency[h]) * pack_.W;
            if (task_.inverse) {
                for (int w = 0; w < pack_.W; ++w)
                    spectrum_[w] = natural[horizontal.frequency[w]] * (vertical.root_weight[h] * horizontal.root_weight[w]);
                pack_.rows.inverse(spectrum_, reinterpret_cast<T*>(line_), L, scratch_);
                pack_.store_row(line_, h, spectra_);
            } else {
                pack_.load_row(spectra_, h, line_);
                pack_.rows.forward(reinterpret_cast<const T*>(line_), L, spectrum_, scratch_);
                for (int w = 0; w < pack_.W; ++w)
                    natural[horizontal.frequency[w]] = spectrum_[w] * (vertical.root_weight[h] * horizontal.root_weight[w]);
            }
        }
        if (task_.inverse) pack_.inverse_columns(spectra_, packed_, scratch_);
        emit_pack(task_.dtype, pack_, packed_, first, planes, copy_, task_.out);
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

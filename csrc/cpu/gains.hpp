// The gains of one sample in the order and normalisation the plane kernel wants: frequencies permuted as the plans leave them,
// the weights 2/N of the unnormalised transforms folded in.
#pragma once

#include "heat.hpp"
#include "scratch.hpp"
#include "staging.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Whether the gain of a term differs between frequencies, so that its image has to be transformed.
inline bool follows_frequency(const CombineTask& task, int term) {
    if (!task.term[term].data && !(term == 2 && task.draw_noise)) return false;
    if (task.kind == GainKind::kMap) return true;
    if (task.kind == GainKind::kLevel) return term == 0;
    const bool markov = task.rule == Rule::kMarkov;
    const bool plain = task.prediction == Prediction::kX || task.prediction == Prediction::kMean;
    return term == 0 || markov || (term == 1 && !plain);
}

// Whether a term needs memory for a spectrum: its image is transformed; of noise alone, beside the first term.
inline bool needs_spectrum(const CombineTask& task, int term) {
    return term == 0 || (task.term[term].data && follows_frequency(task, term));
}

// The noise is drawn by the kernel straight in the DCT basis.
inline bool draws_spectral_noise(const CombineTask& task) { return task.draw_noise && follows_frequency(task, 2); }

enum class Form { kNone, kNumber, kSeparable, kMap };

// kNumber:    one number for all frequencies: no transform needed.
// kSeparable: row[h] column[w] (+ flat_row[h] flat_column[w] where there is a floor: the image times `flat`).
// kMap:       a vector per (block of rows, w), lanes are rows: map[(h / kLanes) W + w].
template <class T>
struct Gain {
    Form form = Form::kNone;
    T number = 0;
    T flat = 0;
    const T* row = nullptr;
    const T* column = nullptr;
    const T* flat_row = nullptr;
    const T* flat_column = nullptr;
    const Vec<T>* map = nullptr;
};

template <class T>
class Gains {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    Gains(const CombineTask& task, const Plane<T>& plane, Arena& arena) : task_(task), plane_(plane) {
        for (T** table : {&row_, &flat_row_, &second_row_, &rest_row_, &weight_, &root_weight_})
            *table = arena.take<T>(plane.padded_height);
        for (T** table : {&column_, &second_column_, &rest_column_}) *table = arena.take<T>(plane.padded_width);
        for (int i = 0; i < kTerms; ++i) {
            const bool mapped = needs_map(task, i);
            map_[i] = mapped ? arena.take<V>(static_cast<std::int64_t>(plane.padded_height / L) * plane.W) : nullptr;
        }
        natural_ = task.kind == GainKind::kMap ? arena.take<V>(plane.padded_width) : nullptr;
        if (!row_) return;
        for (T* table : {row_, second_row_, rest_row_, weight_, root_weight_}) std::fill_n(table, plane.padded_height, T(0));
        std::copy_n(plane.columns.plan.weight, plane.H, weight_);
        std::copy_n(plane.columns.plan.root_weight, plane.H, root_weight_);
    }

    const Gain<T>* prepare(std::int64_t b, std::int64_t c) {
        switch (task_.kind) {
            case GainKind::kLevel: prepare_level(b); break;
            case GainKind::kStep: prepare_step(b); break;
            case GainKind::kMap: prepare_maps(b, c); break;
        }
        return gain_;
    }

    // Whether the last `prepare` of a level or a step made other gains than the one before it.
    bool changed() const { return changed_; }

  private:
    const CombineTask& task_;
    const Plane<T>& plane_;
    Gain<T> gain_[kTerms];
    // Tables of rows are 0 beyond H, in the constructor once and for all: the lanes there stay 0.
    T *row_, *flat_row_, *second_row_, *rest_row_, *column_, *second_column_, *rest_column_;
    T *weight_, *root_weight_;  // those of the plan of the columns
    V* map_[kTerms];
    V* natural_;  // a block of rows of a map, in natural order along the rows
    std::int64_t ready_sample_ = -1;
    bool changed_ = true;
    const void* ready_map_[kTerms] = {};

    // A level's alpha is a product of a row and a column; its square, with a floor, is not.
    static bool needs_map(const CombineTask& task, int term) {
        return follows_frequency(task, term) && !(task.kind == GainKind::kLevel && task.power == 1);
    }

    bool already(std::int64_t b, const LevelArray& levels, const LevelArray& others) {
        const bool same = ready_sample_ == b || (ready_sample_ >= 0 && levels.stride == 0 && others.stride == 0);
        ready_sample_ = b;
        changed_ = !same;
        return same;
    }

    static void set_number(Gain<T>& gain, double value) {
        gain.form = value == 0.0 ? Form::kNone : Form::kNumber;
        gain.number = static_cast<T>(value);
    }

    // alpha = a ((1 - floor) e^(-lam tau) + floor) is separable; its square, which the gradient of the energy needs, is a map.
    void prepare_level(std::int64_t b) {
        if (already(b, task_.t, task_.t)) return;
        const Level level = task_.t.at(b);
        const double a = std::exp(level.log_a);
        const auto& horizontal = plane_.rows.plan;
        const bool squared = map_[0] != nullptr;
        heat_tables(level.tau);
        const T heat = static_cast<T>(a * (1.0 - level.floor)), flat = static_cast<T>(a * level.floor);
        if (squared) {
            for (int h = 0; h < plane_.H; ++h) row_[h] *= heat;
            std::fill_n(flat_row_, plane_.padded_height, flat);
        } else {
            for (int h = 0; h < plane_.H; ++h) row_[h] *= heat * weight_[h];
            for (int w = 0; w < plane_.W; ++w) column_[w] *= horizontal.weight[w];
            if (level.floor > 0.0)
                for (int h = 0; h < plane_.padded_height; ++h) flat_row_[h] = flat * weight_[h];
        }
        gain_[0] = {};
        if (squared) {
            square_alpha();
            gain_[0].form = Form::kMap;
            gain_[0].map = map_[0];
        } else {
            gain_[0].form = Form::kSeparable;
            gain_[0].row = row_;
            gain_[0].column = column_;
            gain_[0].flat = flat;
            if (level.floor > 0.0) {
                gain_[0].flat_row = flat_row_;
                gain_[0].flat_column = horizontal.weight;
            }
        }
        set_number(gain_[2], level.sigma);
    }

    // e^(-lam tau) along both axes; a square plane has one table.
    void heat_tables(double tau) {
        heat_table(plane_.columns.plan, tau, row_);
        if (&plane_.columns.plan == &plane_.rows.plan) {
            std::copy_n(row_, plane_.W, column_);
        } else {
            heat_table(plane_.rows.plan, tau, column_);
        }
    }

    void square_alpha() {
        for (int h = 0; h < plane_.padded_height; h += L) {
            const V row = load(row_ + h), flat = load(flat_row_ + h), weight = load(weight_ + h);
            V* to = map_[0] + static_cast<std::int64_t>(h / L) * plane_.W;
            for (int w = 0; w < plane_.W; ++w) {
                const V alpha = row * column_[w] + flat;
                to[w] = alpha * alpha * (weight * plane_.rows.plan.weight[w]);
            }
        }
    }

    void prepare_step(std::int64_t b) {
        if (already(b, task_.s, task_.t)) return;
        const Level s = task_.s.at(b), t = task_.t.at(b);
        const auto constants = make_step_constants<T>(s, t, task_.rule, task_.parameter, task_.prediction);
        const auto& horizontal = plane_.rows.plan;
        heat_tables(s.tau);
        fade_table(plane_.columns.plan, t.tau - s.tau, second_row_);
        fade_table(horizontal, t.tau - s.tau, second_column_);
        const bool needs = needs_rest(task_.prediction);
        if (needs) {
            heat_table(plane_.columns.plan, t.tau - s.tau, rest_row_);
            heat_table(horizontal, t.tau - s.tau, rest_column_);
        }
        const bool spectral_noise = draws_spectral_noise(task_);
        for (int h = 0; h < plane_.padded_height; h += L) {
            const V decay_row = load(row_ + h), fade_row = load(second_row_ + h), rest_row = load(rest_row_ + h);
            const V weight_row = load(weight_ + h), root_row = load(root_weight_ + h);
            const std::int64_t base = static_cast<std::int64_t>(h / L) * plane_.W;
            for (int w = 0; w < plane_.W; ++w) {
                // expm1(x + y) = expm1(x) + expm1(y) + expm1(x) expm1(y)
                const V fade = fade_row + second_column_[w] + fade_row * second_column_[w];
                const V rest = needs ? rest_row * rest_column_[w] : fade + 1;
                const auto c = step_coefficients<V, T>(constants, decay_row * column_[w], fade, rest, square_root<T>);
                const V weight = weight_row * horizontal.weight[w];
                if (map_[0]) map_[0][base + w] = c.p * weight;
                if (map_[1]) map_[1][base + w] = c.q * weight;
                if (map_[2]) map_[2][base + w] = c.w * (spectral_noise ? root_row * horizontal.root_weight[w] : weight);
            }
        }
        for (int i = 0; i < kTerms; ++i) {
            gain_[i] = {};
            if (map_[i]) {
                gain_[i].form = Form::kMap;
                gain_[i].map = map_[i];
            }
        }
        if (!map_[1]) set_number(gain_[1], static_cast<double>(constants.kappa));
        if (!map_[2]) set_number(gain_[2], static_cast<double>(constants.omega));
    }

    void prepare_maps(std::int64_t b, std::int64_t c) {
        const auto& horizontal = plane_.rows.plan;
        for (int i = 0; i < kTerms; ++i) {
            if (!map_[i]) continue;
            const T* from = plane_of<T>(task_.map[i], b, c);
            if (ready_map_[i] == from) continue;
            ready_map_[i] = from;
            const bool rows = task_.map[i].stride[3] == 1 && !plane_.narrow();
            for (int h = 0; h < plane_.padded_height; h += L) {
                V* to = map_[i] + static_cast<std::int64_t>(h / L) * plane_.W;
                if (rows) {
                    plane_.gather_rows(from, task_.map[i].stride[2], h, natural_);
                } else {
                    gather_strided(from, task_.map[i].stride, h);
                }
                const V weight = load(weight_ + h);
                for (int w = 0; w < plane_.W; ++w) to[w] = natural_[horizontal.frequency[w]] * (weight * horizontal.weight[w]);
            }
            gain_[i].form = Form::kMap;
            gain_[i].map = map_[i];
        }
    }

    // Rows h .. h + kLanes - 1, in the order of the plan, of a map with any strides.
    void gather_strided(const T* from, const std::int64_t* stride, int h) {
        for (int lane = 0; lane < L; ++lane) {
            const T* row = from + plane_.columns.plan.frequency[std::min(h + lane, plane_.H - 1)] * stride[2];
            for (int w = 0; w < plane_.W; ++w) natural_[w][lane] = row[w * stride[3]];
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

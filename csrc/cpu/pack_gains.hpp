// The gains of kLanes packed planes: a map [H][W] of vectors for each term, lanes are planes, rows and columns in the order of
// the plans, the weights 2/N folded in.
#pragma once

#include "gains.hpp"
#include "pack.hpp"
#include "task.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
class PackGains {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    PackGains(const CombineTask& task, const Pack<T>& pack, Arena& arena) : task_(task), pack_(pack) {
        for (Tables* tables : {&heat_, &fade_, &rest_}) {
            tables->row = arena.take<V>(pack.H);
            tables->column = pack.H == pack.W ? tables->row : arena.take<V>(pack.W);  // one for both axes of a square
        }
        for (int i = 0; i < kTerms; ++i) {
            map[i] = follows_frequency(task, i) ? arena.take<V>(pack.area) : nullptr;
        }
    }

    V* map[kTerms];         // null where the gain is `number`
    V number[kTerms] = {};  // of terms 1 and 2; term 0 always has a map

    void prepare(std::int64_t first, int planes) {
        if (task_.kind == GainKind::kMap) return prepare_maps(first, planes);
        const bool one_level = task_.t.stride == 0 && (task_.kind == GainKind::kLevel || task_.s.stride == 0);
        if (one_level && ready_) return;
        ready_ = true;
        StepConstants<V> constants{};
        std::int64_t previous = -1;
        for (int lane = 0; lane < planes; ++lane) {  // what lanes beyond hold does not matter
            const std::int64_t sample = one_level ? 0 : (first + lane) / task_.channels;
            if (sample == previous) {
                repeat_lane(lane, constants);
            } else if (task_.kind == GainKind::kLevel) {
                level_lane(lane, task_.t.at(sample));
            } else {
                step_lane(lane, task_.s.at(sample), task_.t.at(sample), constants);
            }
            previous = sample;
        }
        const auto heat_of = [](double x) { return heat<T>(x); };
        fill(heat_, tau_, heat_of);
        if (task_.kind == GainKind::kLevel) return level_map();
        fill(fade_, later_, [](double x) { return fade<T>(x); });
        if (needs_rest(task_.prediction)) fill(rest_, later_, heat_of);
        step_maps(constants);
    }

  private:
    const CombineTask& task_;
    const Pack<T>& pack_;
    struct Tables {
        V *row, *column;
    };
    Tables heat_, fade_, rest_;
    double tau_[L] = {}, later_[L] = {};  // the heat time of each lane, and what is added to it from s to t
    V scale_{}, flat_{};
    bool ready_ = false;

    template <class Of>
    void fill(const Tables& tables, const double* tau, Of of) {
        lanes_table(pack_.columns.plan, tau, tables.row, of);
        if (tables.column != tables.row) lanes_table(pack_.rows.plan, tau, tables.column, of);
    }

    void level_lane(int lane, const Level& level) {
        tau_[lane] = level.tau;
        const double a = std::exp(level.log_a);
        scale_[lane] = static_cast<T>(a * (1.0 - level.floor));
        flat_[lane] = static_cast<T>(a * level.floor);
        number[2][lane] = static_cast<T>(level.sigma);
    }

    void step_lane(int lane, const Level& s, const Level& t, StepConstants<V>& constants) {
        tau_[lane] = s.tau;
        later_[lane] = t.tau - s.tau;
        const auto one = make_step_constants<T>(s, t, task_.rule, task_.parameter, task_.prediction);
        constants.prediction = one.prediction;
        constants.per_frequency = one.per_frequency;
        constants.floors = constants.floors || one.floors;
        for_each_constant(constants, [&](V& lanes, T StepConstants<T>::* member) { lanes[lane] = one.*member; });
        number[1][lane] = one.kappa;
        number[2][lane] = one.omega;
    }

    template <class Body>
    static void for_each_constant(StepConstants<V>& k, Body body) {
        using K = StepConstants<T>;
        body(k.a_s, &K::a_s);
        body(k.a_t, &K::a_t);
        body(k.a_ratio, &K::a_ratio);
        body(k.floor_s, &K::floor_s);
        body(k.floor_t, &K::floor_t);
        body(k.sigma_s, &K::sigma_s);
        body(k.sigma_t, &K::sigma_t);
        body(k.kappa, &K::kappa);
        body(k.keep, &K::keep);
        body(k.renewed, &K::renewed);
        body(k.omega, &K::omega);
    }

    // A lane of the same sample as the one before it.
    void repeat_lane(int lane, StepConstants<V>& constants) {
        const auto repeat = [lane](V& lanes) { lanes[lane] = lanes[lane - 1]; };
        tau_[lane] = tau_[lane - 1];
        later_[lane] = later_[lane - 1];
        for (V* lanes : {&scale_, &flat_, &number[1], &number[2]}) repeat(*lanes);
        if (task_.kind != GainKind::kStep) return;
        for_each_constant(constants, [&](V& lanes, T StepConstants<T>::*) { repeat(lanes); });
    }

    T weight(int h, int w) const { return pack_.columns.plan.weight[h] * pack_.rows.plan.weight[w]; }

    void level_map() {
        if (!map[0]) return;
        for (int h = 0; h < pack_.H; ++h) {
            for (int w = 0; w < pack_.W; ++w) {
                const V alpha = scale_ * (heat_.row[h] * heat_.column[w]) + flat_;
                map[0][h * pack_.W + w] = (task_.power == 2 ? alpha * alpha : alpha) * weight(h, w);
            }
        }
    }

    void step_maps(const StepConstants<V>& constants) {
        for (int h = 0; h < pack_.H; ++h) {
            for (int w = 0; w < pack_.W; ++w) {
                const V fade = fade_.row[h] + fade_.column[w] + fade_.row[h] * fade_.column[w];
                const V rest = needs_rest(task_.prediction) ? rest_.row[h] * rest_.column[w] : fade + 1;
                const auto c = step_coefficients<V, V>(constants, heat_.row[h] * heat_.column[w], fade, rest, square_root<T>);
                const T root = pack_.columns.plan.root_weight[h] * pack_.rows.plan.root_weight[w];
                const int at = h * pack_.W + w;
                if (map[0]) map[0][at] = c.p * weight(h, w);
                if (map[1]) map[1][at] = c.q * weight(h, w);
                if (map[2]) map[2][at] = c.w * (task_.draw_noise ? root : weight(h, w));
            }
        }
    }

    void prepare_maps(std::int64_t first, int planes) {
        for (int i = 0; i < kTerms; ++i) {
            if (!map[i]) continue;
            const std::int64_t* stride = task_.map[i].stride;
            for (int lane = 0; lane < planes; ++lane) {
                const std::int64_t plane = first + lane;
                const T* from = plane_of<T>(task_.map[i], plane / task_.channels, plane % task_.channels);
                for (int h = 0; h < pack_.H; ++h) {
                    const T* row = from + pack_.columns.plan.frequency[h] * stride[2];
                    for (int w = 0; w < pack_.W; ++w)
                        map[i][h * pack_.W + w][lane] = row[pack_.rows.plan.frequency[w] * stride[3]] * weight(h, w);
                }
            }
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

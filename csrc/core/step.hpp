// Levels and the coefficients of a reverse step, per frequency:
//
//   alpha = a d,  d = (1 - floor) exp(-lam tau) + floor,      u_s = (alpha_s - kappa alpha_t) u_hat + kappa u_t + omega n
//
// written as u_s = p u_output + q u_t + w n for a network output that is the clean image (x), the noise (eps), the velocity (v)
// or the cleaner mean. Nothing here subtracts nearly equal numbers: with `lost` = 1 - d_t / d_s from expm1, 1 - kappa alpha_t /
// alpha_s comes out to full relative precision for neighbouring levels, and alpha_t / alpha_s is never 0/0.
#pragma once

#include <cmath>
#include <type_traits>

#include "config.hpp"

namespace softdiff {

// Codes shared with softdiff_ext/rules.py.
enum class Rule : int { kMarkov = 0, kMomentum = 1, kDdim = 2, kNaive = 3, kCold = 4 };
enum class Prediction : int { kX = 0, kEps = 1, kV = 2, kMean = 3 };

struct Level {
    double log_a;
    double tau;
    double sigma;
    double floor;
};

inline namespace SOFTDIFF_ISA {

// What of a step is the same for all frequencies, formed from differences in double. T is a scalar, or a vector with a sample
// in each lane.
template <class T>
struct StepConstants {
    Prediction prediction;
    bool per_frequency;   // kappa follows alpha_t / alpha_s (Markov) instead of being one number
    bool floors;          // a floor keeps d away from 0, so d_t / d_s is safe
    T a_s, a_t, a_ratio;  // a_ratio = a_t / a_s
    T floor_s, floor_t;
    T sigma_s, sigma_t;
    T kappa;    // Markov: times d_t / d_s
    T keep;     // kappa a_t / a_s
    T renewed;  // 1 - keep, without cancellation
    T omega;    // where it is one number
};

// Not inlined: it takes 50 instructions of a GPU, and a kernel needs it several times.
SOFTDIFF_OUTLINE double exponential(double x) { return std::exp(x); }

// exp(x), and exp(x) - 1 without cancellation.
template <class T>
struct Powers {
    T power, minus_1;
};
struct ExactPowers {
    SOFTDIFF_INLINE Powers<double> operator()(double x) const { return {exponential(x), std::expm1(x)}; }
};

// `powers(x)` makes Powers of a number <= 88; a kernel of floats has a cheaper one.
template <class T, class MakePowers = ExactPowers>
SOFTDIFF_INLINE StepConstants<T> make_step_constants(const Level& s, const Level& t, Rule rule, double parameter,
                                                     Prediction prediction, MakePowers powers = {}) {
    const double log_a_ratio = t.log_a - s.log_a;
    const auto a_ratio = powers(log_a_ratio).power;
    const double r = t.sigma > 0.0 ? s.sigma / t.sigma : 1.0, log_r = std::log(r);
    double kappa = 0.0, omega = 0.0, log_keep = 0.0;
    switch (rule) {
        case Rule::kMarkov:
            kappa = static_cast<double>(a_ratio) * r * r;
            log_keep = 2.0 * (log_a_ratio + log_r);
            break;
        case Rule::kMomentum: {
            kappa = r * r;
            log_keep = 2.0 * log_r + log_a_ratio;
            const bool own = parameter != 0.0;  // sigma_s sqrt(1 - r^2), else sqrt(sigma_t^2 - sigma_s^2)
            omega = (own ? s.sigma : 1.0) * std::sqrt(own ? (1.0 - r) * (1.0 + r) : (t.sigma - s.sigma) * (t.sigma + s.sigma));
            break;
        }
        case Rule::kDdim:
            kappa = std::sqrt((1.0 - parameter) * (1.0 + parameter)) * r;
            log_keep = 0.5 * std::log1p(-parameter * parameter) + log_r + log_a_ratio;
            omega = parameter * s.sigma;
            break;
        case Rule::kNaive:
            log_keep = -HUGE_VAL;
            omega = parameter < 0.0 ? s.sigma : parameter;
            break;
        case Rule::kCold:
            kappa = 1.0;
            log_keep = log_a_ratio;
            break;
    }
    StepConstants<T> k{};
    k.prediction = prediction;
    k.per_frequency = rule == Rule::kMarkov;
    k.floors = s.floor > 0.0 || t.floor > 0.0;
    k.a_s = static_cast<T>(powers(s.log_a).power);
    k.a_t = static_cast<T>(powers(t.log_a).power);
    k.a_ratio = static_cast<T>(a_ratio);
    k.floor_s = static_cast<T>(s.floor);
    k.floor_t = static_cast<T>(t.floor);
    k.sigma_s = static_cast<T>(s.sigma);
    k.sigma_t = static_cast<T>(t.sigma);
    k.kappa = static_cast<T>(kappa);
    const auto keep = powers(log_keep);
    k.keep = static_cast<T>(keep.power);
    k.renewed = static_cast<T>(-keep.minus_1);
    k.omega = static_cast<T>(omega);
    return k;
}

template <class V>
struct StepCoefficients {
    V p, q, w;
};

// Whether `rest` below has to have all its digits: by v it is added to sigma_t^2, which may be as small; elsewhere to numbers
// near 1, and fade + 1 will do.
SOFTDIFF_INLINE bool needs_rest(Prediction prediction) { return prediction == Prediction::kV; }

// decay_s = exp(-lam tau_s); rest = exp(-lam (tau_t - tau_s)), and fade = rest - 1 without cancellation. `square_root` is
// passed in: SIMD vectors have their own.
template <class V, class T, class SquareRoot>
SOFTDIFF_INLINE StepCoefficients<V> step_coefficients(const StepConstants<T>& k, V decay_s, V fade, V rest,
                                                      SquareRoot square_root) {
    const V decay_t = decay_s * rest;
    const V d_s = decay_s * (1 - k.floor_s) + k.floor_s;
    V ratio = rest;  // d_t / d_s
    V lost = -fade;  // 1 - d_t / d_s
    if (k.floors) {
        const V d_t = decay_t * (1 - k.floor_t) + k.floor_t;
        const V floored = d_t / d_s, gone = -(decay_s * fade * (1 - k.floor_s) + (k.floor_t - k.floor_s) * (1 - decay_t)) / d_s;
        const auto here = k.floor_s + k.floor_t > 0;
        if constexpr (std::is_same_v<std::remove_cv_t<decltype(here)>, bool>) {
            ratio = floored;
            lost = gone;
        } else {  // constants of several samples at once: not all need have a floor
            ratio = here ? floored : ratio;
            lost = here ? gone : lost;
        }
    }
    const V renewed = (k.per_frequency ? lost * (2 - lost) : lost) * k.keep + k.renewed;  // 1 - kappa alpha_t / alpha_s
    const V kappa = k.per_frequency ? ratio * k.kappa : ratio * 0 + k.kappa;
    const V omega = k.per_frequency ? square_root(renewed) * k.sigma_s : ratio * 0 + k.omega;
    const V alpha_s = d_s * k.a_s;
    switch (k.prediction) {
        case Prediction::kEps: {  // u_hat = (u_t - sigma_t u_output) / alpha_t
            const V inverse = 1 / (ratio * k.a_ratio);
            return {-(renewed * inverse) * k.sigma_t, inverse, omega};
        }
        case Prediction::kV: {  // u_hat = (a_t u_t - sigma_t u_output) / (a_t alpha_t + sigma_t^2)
            const V alpha_t = alpha_s * ratio * k.a_ratio;
            const V scale = alpha_s * renewed / (alpha_t * k.a_t + k.sigma_t * k.sigma_t);
            return {-scale * k.sigma_t, kappa + scale * k.a_t, omega};
        }
        case Prediction::kMean: return {renewed, kappa, omega};  // u_output = alpha_s u_hat
        default: return {alpha_s * renewed, kappa, omega};
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

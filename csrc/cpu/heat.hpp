// exp(-lam tau) and expm1(-lam tau) along one axis, lam_k = (pi k / N)^2, in the order of a plan.
//
// For float32 by recurrence in double: with c = (pi / N)^2 tau, e_k = exp(-c k^2) has e_{k+1} = e_k r_k and r_{k+1} = r_k
// exp(-2c), two multiplications for a frequency instead of an exponential. Rounding grows as k^2 2^-53, which is 4e-9 at
// kRecurrence.
#pragma once

#include <cmath>

#include "../core/trig.hpp"
#include "plan.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr int kRecurrence = 4096;   // longer lines, and float64, take the exponentials
constexpr double kNothing = 1e-37;  // a gain below the normal float32 numbers is 0

template <class T>
inline void heat_table(const LinePlan<T>& plan, double tau, T* out) {
    if (sizeof(T) == sizeof(double) || plan.size > kRecurrence) {
        for (int i = 0; i < plan.size; ++i) out[i] = static_cast<T>(std::exp(-tau * plan.eigenvalue[i]));
        return;
    }
    const double step = kPi / plan.size;
    double value = 1.0, ratio = std::exp(-step * step * tau);
    const double change = ratio * ratio;
    for (int k = 0; k < plan.size; ++k) {
        out[plan.position[k]] = static_cast<T>(value);
        value *= ratio;
        ratio *= change;
        if (value < kNothing) value = 0.0;
    }
}

// The same for expm1: sums of numbers of one sign, so nothing cancels.
template <class T>
inline void fade_table(const LinePlan<T>& plan, double tau, T* out) {
    if (sizeof(T) == sizeof(double) || plan.size > kRecurrence) {
        for (int i = 0; i < plan.size; ++i) out[i] = static_cast<T>(std::expm1(-tau * plan.eigenvalue[i]));
        return;
    }
    const double step = kPi / plan.size;
    double value = 0.0, ratio = std::expm1(-step * step * tau);
    const double change = ratio * (2.0 + ratio);
    for (int k = 0; k < plan.size; ++k) {
        out[plan.position[k]] = static_cast<T>(value);
        value += ratio + value * ratio;
        ratio += change + ratio * change;
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

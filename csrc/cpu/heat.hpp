// exp(-lam tau) and expm1(-lam tau) along one axis, lam_k = (pi k / N)^2, in the order of a plan.
//
// For float32 in double by a short polynomial, which vectorises: exp(x) = 2^n e^r with |r| <= ln 2 / 2, to 3e-10.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "../core/trig.hpp"
#include "plan.hpp"
#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

namespace detail {

// 2^n and e^r - 1 of x = n ln 2 + r, for x in [-700, 0].
struct SplitExponential {
    double power, rest;
};
SOFTDIFF_INLINE SplitExponential split_exponential(double x) {
    constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;
    constexpr double kRound = 6755399441055744.0;  // 1.5 2^52: adding it leaves the nearest integer in the low bits
    const double shifted = x * kLog2E + kRound;
    const double r = x - (shifted - kRound) * kLn2;
    std::uint64_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    SplitExponential out;
    std::memcpy(&out.power, &bits, sizeof bits);
    constexpr double kSeries[] = {1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0};
    double series = 0.0;
    SOFTDIFF_UNROLL
    for (double coefficient : kSeries) series = series * r + coefficient;
    out.rest = series * r;
    return out;
}

constexpr double kNothing = -87.0;  // an exponential below the normal float32 numbers is 0

}  // namespace detail

// exp(x) and exp(x) - 1, x <= 0.
template <class T>
SOFTDIFF_INLINE T heat(double x) {
    if constexpr (sizeof(T) == sizeof(double)) return std::exp(x);
    const auto e = detail::split_exponential(x > detail::kNothing ? x : detail::kNothing);
    return static_cast<T>(x > detail::kNothing ? e.power * e.rest + e.power : 0.0);
}
template <class T>
SOFTDIFF_INLINE T fade(double x) {
    if constexpr (sizeof(T) == sizeof(double)) return std::expm1(x);
    const auto e = detail::split_exponential(x > detail::kNothing ? x : detail::kNothing);
    return static_cast<T>(e.power * e.rest + (e.power - 1.0));
}

template <class T>
inline void heat_table(const LinePlan<T>& plan, double tau, T* out) {
#pragma omp simd
    for (int i = 0; i < plan.size; ++i) out[i] = heat<T>(-tau * plan.eigenvalue[i]);
}
template <class T>
inline void fade_table(const LinePlan<T>& plan, double tau, T* out) {
#pragma omp simd
    for (int i = 0; i < plan.size; ++i) out[i] = fade<T>(-tau * plan.eigenvalue[i]);
}

// The same with a tau in each lane; of(x) is heat<T>(x) or fade<T>(x).
template <class T, class Of>
inline void lanes_table(const LinePlan<T>& plan, const double* tau, Vec<T>* out, Of of) {
    for (int i = 0; i < plan.size; ++i) {
        T lanes[kLanes<T>];
#pragma omp simd
        for (int lane = 0; lane < kLanes<T>; ++lane) lanes[lane] = of(-tau[lane] * plan.eigenvalue[i]);
        out[i] = load(lanes);
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

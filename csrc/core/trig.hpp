// cos(pi p / q) and sin(pi p / q) to double precision at compile time, argument reduced exactly on integers.
#pragma once

#include "config.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr double kPi = 3.14159265358979323846;

namespace detail {
// Taylor series, used for |x| <= pi/4 only, where 14 terms are far below double rounding.
constexpr double taylor(double x, int first) {
    double term = first ? x : 1.0;
    double sum = term;
    for (int i = 1; i < 14; ++i) {
        const int k = 2 * i + first;
        term *= -x * x / (k * (k - 1));
        sum += term;
    }
    return sum;
}
}  // namespace detail

constexpr double cos_pi(long long p, long long q) {
    p %= 2 * q;
    if (p < 0) p += 2 * q;
    if (p > q) p = 2 * q - p;
    const bool negative = 2 * p > q;
    if (negative) p = q - p;
    const double value = 4 * p <= q ? detail::taylor(kPi * static_cast<double>(p) / static_cast<double>(q), 0)
                                    : detail::taylor(kPi * static_cast<double>(q - 2 * p) / (2.0 * static_cast<double>(q)), 1);
    return negative ? -value : value;
}

constexpr double sin_pi(long long p, long long q) { return cos_pi(q - 2 * p, 2 * q); }

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

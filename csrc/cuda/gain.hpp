// Levels and gains as a block computes them: once per plane into shared memory, then per frequency.
//
// exp(-lam tau) factors into rows and columns, so a plane needs tables of H + W numbers, not H W; what is the same for all
// frequencies (StepConstants) is computed by one thread of the plane. Exponents are formed in double, which is a handful of
// operations for each entry, and the exponential itself is float32's with the rest of the exponent put right:
// exp(hi + lo) = exp(hi) (1 + lo). Cards whose double arithmetic is slow lose nothing by it.
#pragma once

#include <cmath>

#include "../core/step.hpp"
#include "../core/trig.hpp"
#include "space.hpp"
#include "task.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class Space>
SOFTDIFF_INLINE double field_at(const cuda::LevelField& field, std::int64_t sample) {
    if (!field.data) return field.number;
    const std::int64_t at = sample * field.stride;
    if (field.is_float32) return static_cast<double>(Space::global(static_cast<const float*>(field.data))[at]);
    return Space::global(static_cast<const double*>(field.data))[at];
}

template <class Space>
SOFTDIFF_INLINE Level level_at(const cuda::LevelFields& fields, std::int64_t sample) {
    return {field_at<Space>(fields.field[0], sample), field_at<Space>(fields.field[1], sample),
            field_at<Space>(fields.field[2], sample), field_at<Space>(fields.field[3], sample)};
}

// exp(x) and expm1(x) of x <= 0 given in double, to the accuracy of T.
SOFTDIFF_INLINE void exponentials(double x, float* power, float* power_minus_1) {
    const auto high = static_cast<float>(x);
    const auto low = static_cast<float>(x - static_cast<double>(high));
    const float e = expf(high), m = expm1f(high);
    const bool some = high > -87.0F;  // below, a float32 would be subnormal: 0, as the CPU has it
    *power = some ? e + e * low : 0.0F;
    *power_minus_1 = some ? m + e * low : -1.0F;
}
SOFTDIFF_INLINE void exponentials(double x, double* power, double* power_minus_1) {
    *power = exp(x);
    *power_minus_1 = expm1(x);
}

// exp(x) and exp(x) - 1 of any x given in double, to the accuracy of T.
template <class T>
struct PowersTo : ExactPowers {};
template <>
struct PowersTo<float> {
    SOFTDIFF_INLINE Powers<float> operator()(double x) const {
        const auto high = static_cast<float>(x);
        const float e = expf(high), m = expm1f(high);
        const bool finite = high > -87.0F && high < 88.0F;  // else the rest of x is nothing, or no number
        const float low = finite ? static_cast<float>(x - static_cast<double>(high)) : 0.0F;
        return {e + e * low, m + e * low};
    }
};

// lam_k = (pi k / n)^2 of one axis.
SOFTDIFF_INLINE double eigenvalue(int k, int n) {
    const double root = kPi / static_cast<double>(n) * static_cast<double>(k);
    return root * root;
}

// exp(-lam tau)
template <class T>
SOFTDIFF_INLINE T decay_of(int k, int n, double tau) {
    T power, unused;
    exponentials(-eigenvalue(k, n) * tau, &power, &unused);
    return power;
}

// exp(-lam tau) and exp(-lam tau) - 1
template <class T>
SOFTDIFF_INLINE Powers<T> fade_of(int k, int n, double tau) {
    Powers<T> fade;
    exponentials(-eigenvalue(k, n) * tau, &fade.power, &fade.minus_1);
    return fade;
}

// StepConstants as they lie in shared memory, in their own order.
constexpr int kConstants = 12;

template <class T, class View>
SOFTDIFF_INLINE void put_step(const StepConstants<T>& k, View to) {
    const T values[] = {k.a_s,     k.a_t,   k.a_ratio, k.floor_s, k.floor_t, k.sigma_s,
                        k.sigma_t, k.kappa, k.keep,    k.renewed, k.omega,   static_cast<T>(k.floors ? 1 : 0)};
    SOFTDIFF_UNROLL
    for (int i = 0; i < static_cast<int>(sizeof values / sizeof values[0]); ++i) to[i] = values[i];
}

template <class T, class View>
SOFTDIFF_INLINE StepConstants<T> get_step(View from, Rule rule, Prediction prediction) {
    StepConstants<T> k{};
    k.prediction = prediction;
    k.per_frequency = rule == Rule::kMarkov;
    k.a_s = from[0];
    k.a_t = from[1];
    k.a_ratio = from[2];
    k.floor_s = from[3];
    k.floor_t = from[4];
    k.sigma_s = from[5];
    k.sigma_t = from[6];
    k.kappa = from[7];
    k.keep = from[8];
    k.renewed = from[9];
    k.omega = from[10];
    k.floors = static_cast<T>(from[11]) != T(0);
    return k;
}

// The quotient to two last bits, where the denominator is no subnormal number and below 2^126.
SOFTDIFF_INLINE float quotient(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fdividef(a, b);
#else
    return a / b;
#endif
}
SOFTDIFF_INLINE double quotient(double a, double b) { return a / b; }

// Four frequencies at once, as step_coefficients takes them: what all of them have in common is asked once.
template <class T>
struct Four {
    T value[4];

    SOFTDIFF_INLINE Four(T all = T(0))
        : value{all, all, all, all} {}  // NOLINT(google-explicit-constructor): it stands for four
    template <class Body>
    static SOFTDIFF_INLINE Four of(Body body) {
        Four four;
        SOFTDIFF_UNROLL
        for (int k = 0; k < 4; ++k) four.value[k] = body(k);
        return four;
    }
    friend SOFTDIFF_INLINE Four operator+(const Four& a, const Four& b) {
        return of([&](int k) { return a.value[k] + b.value[k]; });
    }
    friend SOFTDIFF_INLINE Four operator-(const Four& a, const Four& b) {
        return of([&](int k) { return a.value[k] - b.value[k]; });
    }
    friend SOFTDIFF_INLINE Four operator*(const Four& a, const Four& b) {
        return of([&](int k) { return a.value[k] * b.value[k]; });
    }
    friend SOFTDIFF_INLINE Four operator/(const Four& a, const Four& b) {
        return of([&](int k) { return quotient(a.value[k], b.value[k]); });
    }
    friend SOFTDIFF_INLINE Four operator-(const Four& a) {
        return of([&](int k) { return -a.value[k]; });
    }
};

template <class T>
SOFTDIFF_INLINE T root_of_positive(T v) {
    return static_cast<T>(sqrt(v > T(0) ? v : T(0)));
}
template <class T>
SOFTDIFF_INLINE Four<T> root_of_positive(const Four<T>& v) {
    return Four<T>::of([&](int k) { return root_of_positive(v.value[k]); });
}

// The p, q, w of a frequency from the factors of its row and column.
template <class T>
SOFTDIFF_INLINE StepCoefficients<T> step_at(const StepConstants<T>& k, T row_decay, T column_decay, Powers<T> row_fade,
                                            Powers<T> column_fade) {
    const T row = row_fade.minus_1, column = column_fade.minus_1;
    return step_coefficients<T, T>(k, row_decay * column_decay, row + column + row * column, row_fade.power * column_fade.power,
                                   [](T v) { return root_of_positive(v); });
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// (explanation goes here)
#pragma once

#include "half_dft.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
inline std::int64_t odd_scratch(const OddPlan<T>& plan) {
    return 2 * static_cast<std::int64_t>(plan.n) + plan.half->scratch;
}

// The signs (-1)^j are multiplied: one more product costs less than a branch.
template <class T>
inline void odd_dct2(const OddPlan<T>& plan, const T* x, std::ptrdiff_t stride, Vec<T>* y, Vec<T>* scratch) {
    using V = Vec<T>;
    const int n = plan.n, h = n / 2;
    V *in = scratch, *out = in + n, *rest = out + n;
    const T *low = x + h * stride, *high = low;
    in[0] = load(low);
    V sign = V{} + T(1);
    for (int j = 1; j <= h; ++j) {
        low -= stride;
        high += stride;
        sign = -sign;
        const V p = load(low), q = load(high);
        in[j] = p + q;
        in[h + j] = (p - q) * sign;
    }
    half_dft(*plan.half, in, out, rest);
    y[0] = out[0];
    V* up = y;
    V* down = y + n;
    const V alternate = V{} + T(h % 2 == 0 ? -1 : 1);
    sign = V{} + T(1);
    for (int m = 1; m <= h; ++m) {
        up += 2;
        down -= 2;
        sign = -sign;
        *up = out[m] * sign;
        *down = out[h + m] * (sign * alternate);
    }
}

template <class T>
inline void odd_dct3(const OddPlan<T>& plan, const Vec<T>* x, T* y, std::ptrdiff_t stride, Vec<T>* scratch) {
    using V = Vec<T>;
    const int n = plan.n, h = n / 2;
    V *in = scratch, *out = in + n, *rest = out + n;
    const V alternate = V{} + T(h % 2 == 0 ? -1 : 1);
    V sign = V{} + T(1);
    in[0] = x[0];
    for (int m = 1; m <= h; ++m) {
        sign = -sign;
        in[m] = x[2 * m] * sign;
        in[h + m] = x[n - 2 * m] * (sign * alternate);
    }
    half_dft(*plan.half, in, out, rest);
    T *low = y + h * stride, *high = low;
    store(low, out[0]);
    sign = V{} + T(1);
    for (int j = 1; j <= h; ++j) {
        low -= stride;
        high += stride;
        sign = -sign;
        const V c = out[j], s = out[h + j] * sign;
        store(low, c + s);
        store(high, c - s);
    }
}

template <class T>
inline void odd_dct4(const OddPlan<T>& plan, const Vec<T>* x, Vec<T>* y, Vec<T>* scratch) {
    using V = Vec<T>;
    const int n = plan.n, h = n / 2;
    V *in = scratch, *out = in + n, *rest = out + n;
    in[0] = x[h];
    for (int j = 1; j <= h; ++j) {
        const int i = plan.dct4_position[j - 1];
        const T* f = plan.dct4_factor + 4 * (j - 1);
        const V p = x[i], q = x[n - 1 - i];
        in[j] = p * f[0] + q * f[1];
        in[h + j] = p * f[2] + q * f[3];
    }
    half_dft(*plan.half, in, out, rest);
    y[h] = out[0] * plan.dct4_middle;
    for (int j = 1; j <= h; ++j) {
        const int k = plan.dct4_frequency[j - 1];
        const T* f = plan.dct4_output_factor + 4 * (j - 1);
        const V c = out[j], s = out[h + j];
        y[k] = c * f[0] + s * f[1];
        y[n - 1 - k] = c * f[2] + s * f[3];
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// (explanation goes here)
#pragma once

#include "half_dft.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
inline std::int64_t odd_scratch(const OddPlan<T>& plan) {
    return 2 * static_cast<std::int64_t>(plan.n) + plan.half->scratch;
}

template <class T>
inline void odd_dct2(const OddPlan<T>& plan, const T* x, std::ptrdiff_t stride, Vec<T>* y, Vec<T>* scratch) {
    using V = Vec<T>;
    const int n = plan.n, h = n / 2;
    V *in = scratch, *out = in + n, *rest = out + n;
    const T* middle = x + h * stride;
    in[0] = load(middle);
    for (int j = 1; j <= h; ++j) {
        stride = -stride;  // odd j: (-1)^j (x[h - j] - x[h + j]) by looking from the other side
        const V p = load(middle - j * stride), q = load(middle + j * stride);
        in[j] = p + q;
        in[h + j] = p - q;
    }
    half_dft(*plan.half, in, out, rest);
    for (int m = 0; m <= h; ++m) y[2 * m] = out[m] * T(m % 2 == 0 ? 1 : -1);
    for (int q = 1; q <= h; ++q) y[n - 2 * q] = out[h + q] * T((h - q) % 2 == 0 ? -1 : 1);
}

template <class T>
inline void odd_dct3(const OddPlan<T>& plan, const Vec<T>* x, T* y, std::ptrdiff_t stride, Vec<T>* scratch) {
    using V = Vec<T>;
    const int n = plan.n, h = n / 2;
    V *in = scratch, *out = in + n, *rest = out + n;
    for (int m = 0; m <= h; ++m) in[m] = x[2 * m] * T(m % 2 == 0 ? 1 : -1);
    for (int q = 1; q <= h; ++q) in[h + q] = x[n - 2 * q] * T((h - q) % 2 == 0 ? -1 : 1);
    half_dft(*plan.half, in, out, rest);
    T* middle = y + h * stride;
    store(middle, out[0]);
    for (int j = 1; j <= h; ++j) {
        stride = -stride;
        store(middle - j * stride, out[j] + out[h + j]);
        store(middle + j * stride, out[j] - out[h + j]);
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

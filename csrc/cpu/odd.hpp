// DCT-II, III and IV of odd length n, n = 2 h + 1, at O(n) tables and far below n^2 operations. All three are one pair of real
// transforms between signed permutations, without twiddle factors (Heideman 1992; Chan & Ho 1990):
//
//   H_n:  C[k] = sum_j c[j] cos(2 pi j k / n),  j, k = 0 .. h      the cosine half and
//         S[k] = sum_j d[j] sin(2 pi j k / n),  j, k = 1 .. h      the sine half of a real DFT.      H_n is its own transpose.
//
//   C2 (by 2 i + 1 = n -+ 2 j):  c[0] = x[h], c[j] = x[h-j] + x[h+j], d[j] = (-1)^j (x[h-j] - x[h+j])
//       y[2 m] = (-1)^m C[m],  y[n - 2 q] = (-1)^(h-q+1) S[q]
//   C3: the transpose, that is the same steps backwards.
//   C4 (2 i + 1 = s n + 4 j, 2 k + 1 = r n + 4 q, s, r = +-1):
//       cos(pi (2i+1)(2k+1) / 4n) = (-1)^(j+q) [cos(pi n/4) cos(2 pi j 2q / n) - s r sin(pi n/4) sin(2 pi j 2q / n)],
//       so inputs i and n-1-i, which have j and -j mod n, give c and d by sums and differences, and outputs come back likewise.
//
// H_n is computed by whichever is fastest (odd_choice.cpp estimates):
//
//   dense    two h x h matrices; or straight-line code for short n (half_codelet.hpp).
//   product  n = a b, on a grid of a rows and b columns. With j = j1 (+) +-j2, the sums and differences of c (and d) at the two
//   signs
//            are even or odd in j1 and in j2: four sectors, in which the double-angle formulas leave products:
//                C[k1 (+) +-k2] = (C_a C_b c_even-even) -+ (S_a S_b c_odd-odd)
//                S[k1 (+) +-k2] = (S_a C_b d_odd-even) +- (C_a S_b d_even-odd)
//            so H_a acts on each column and H_b on each row. Coprime a, b: by the Chinese remainder theorem, nothing between
//            (Good 1958; Thomas). Else j = b j1 +- j2, k = k1 +- a k2 and a rotation by 2 pi k1 j2 / n between (Cooley & Tukey
//            1965).
//   Rader    n prime (Rader 1968): with a primitive root g, c[g^-t] and C[g^s] are a convolution of length h mod x^h - 1, d and
//   S one mod
//            x^h + 1. The latter is mod x^h - 1 too, for odd h by alternating signs, for even h as a complex one of length h/2
//            by v[t] + i v[t + h/2] and a rotation. Each length is r m: DFTs of length r (H_r again) split it into polynomials
//            mod x^m - e^(-2 pi i k / r), multiplied as small Toeplitz matrices. Where h has only large factors the
//            convolutions are padded to a smooth length >= 2 h - 1.
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

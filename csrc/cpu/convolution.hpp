// Multiplication by a convolution's kernel in the domain of its DFTs of length r (odd.hpp, Rader): a Toeplitz block for each
// frequency.
#pragma once

#include "toeplitz.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Products by the kernel of a convolution of real values, grid [r][m] to out [r][m]; `start` is added to the values of row 0.
// M = m where it is known at compile time, else 0.
template <class T, int M>
inline void multiply_real(const Convolution<T>& convolution, Vec<T> start, const Vec<T>* grid, Vec<T>* out) {
    const int r = convolution.dft->n, m = M > 0 ? M : convolution.m, top = r / 2;
    const T* kernel = convolution.kernel;
    real_toeplitz(kernel, m, start, grid, out);
    kernel += 2 * m - 1;
    if (r % 2 == 0) {
        real_toeplitz(kernel, m, Vec<T>{}, grid + top * m, out + top * m);
        kernel += 2 * m - 1;
    }
    for (int k = 1; k <= (r - 1) / 2; ++k, kernel += 2 * (2 * m - 1))
        complex_toeplitz<T, M>(kernel, m, grid + k * m, grid + (top + k) * m, out + k * m, out + (top + k) * m);
}

// The same for complex values, whose real and imaginary parts are transformed apart: frequencies k and r - k share four rows.
template <class T, int M>
inline void multiply_complex(const Convolution<T>& convolution, const Vec<T>* re, const Vec<T>* im, Vec<T>* out_re,
                             Vec<T>* out_im, Vec<T>* scratch) {
    using V = Vec<T>;
    const int r = convolution.dft->n, m = M > 0 ? M : convolution.m, top = r / 2, step = 2 * (2 * m - 1);
    const T* kernel = convolution.kernel;
    complex_toeplitz<T, M>(kernel, m, re, im, out_re, out_im);
    kernel += step;
    if (r % 2 == 0) {
        complex_toeplitz<T, M>(kernel, m, re + top * m, im + top * m, out_re + top * m, out_im + top * m);
        kernel += step;
    }
    V local[8 * (M > 0 ? M : 1)];
    V *p_re = M > 0 ? local : scratch, *p_im = p_re + m, *q_re = p_im + m, *q_im = q_re + m;
    V *u_re = q_im + m, *u_im = u_re + m, *w_re = u_im + m, *w_im = w_re + m;
    for (int k = 1; k <= (r - 1) / 2; ++k, kernel += 2 * step) {
        const int c = k * m, s = (top + k) * m;
        for (int t = 0; t < m; ++t) {
            p_re[t] = re[c + t] + im[s + t];
            p_im[t] = im[c + t] - re[s + t];
            q_re[t] = re[c + t] - im[s + t];
            q_im[t] = im[c + t] + re[s + t];
        }
        complex_toeplitz<T, M>(kernel, m, p_re, p_im, u_re, u_im);
        complex_toeplitz<T, M>(kernel + step, m, q_re, q_im, w_re, w_im);
        for (int t = 0; t < m; ++t) {
            out_re[c + t] = u_re[t] + w_re[t];
            out_re[s + t] = w_im[t] - u_im[t];
            out_im[c + t] = u_im[t] + w_im[t];
            out_im[s + t] = u_re[t] - w_re[t];
        }
    }
}

// Calls f(m as a compile-time number), 0 for those that stay a number of run time.
template <class F>
SOFTDIFF_INLINE void with_small_size(int m, F f) {
    switch (m) {
        case 1: return f(std::integral_constant<int, 1>{});
        case 2: return f(std::integral_constant<int, 2>{});
        case 3: return f(std::integral_constant<int, 3>{});
        case 4: return f(std::integral_constant<int, 4>{});
        case 5: return f(std::integral_constant<int, 5>{});
        case 6: return f(std::integral_constant<int, 6>{});
        case 7: return f(std::integral_constant<int, 7>{});
        default: return f(std::integral_constant<int, 0>{});
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// Straight-line discrete cosine transforms of a fixed length N on "values" V: a SIMD vector whose lanes are independent lines,
// or a plain float in a CUDA thread. Unnormalised, in the literature's names:
//
//   DCT-II   C2: y[k] = sum_n x[n] cos(pi (2n+1) k / 2N)
//   DCT-III  C3: y[n] = sum_k x[k] cos(pi (2n+1) k / 2N)              = C2 transposed
//   DCT-IV   C4: y[k] = sum_n x[n] cos(pi (2n+1)(2k+1) / 4N)          = its own transpose
//
// Even N, orthogonal recursion (no 1/cos factors, so rounding does not grow; the weights 2/N are the caller's):
//   C2(N): even outputs = C2(N/2) of the sums x[i] + x[N-1-i], odd outputs = C4(N/2) of the differences.
//   C4(N): rotate the pairs (x[i], x[N-1-i]) by the angle pi (2i+1) / 4N, transform both halves by C2(N/2), add neighbours.
// Odd N: dense, C2 and C3 split into the symmetric and the antisymmetric half.
#pragma once

#include "trig.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T, int M>
struct RotationTable {
    T cosine[M];
    T sine[M];
};

// cos and sin of pi (2i+1) / 4N for the rotations of C4(N).
template <class T, int N>
constexpr RotationTable<T, N / 2> make_rotations() {
    RotationTable<T, N / 2> table{};
    for (int i = 0; i < N / 2; ++i) {
        table.cosine[i] = static_cast<T>(cos_pi(2 * i + 1, 4 * N));
        table.sine[i] = static_cast<T>(sin_pi(2 * i + 1, 4 * N));
    }
    return table;
}

template <class T, int M>
struct DenseTable {
    T entry[M][M];
};

// entry[k][n] = cos(pi (2n+1)(2k + odd) / 2N): the even (odd = 0) or odd (odd = 1) outputs of C2(N) for odd N.
template <class T, int N, int Odd>
constexpr DenseTable<T, (N + 1) / 2> make_dense2() {
    DenseTable<T, (N + 1) / 2> table{};
    for (int k = 0; k < (N + 1) / 2; ++k)
        for (int n = 0; n < (N + 1) / 2; ++n) table.entry[k][n] = static_cast<T>(cos_pi((2 * n + 1) * (2 * k + Odd), 2 * N));
    return table;
}

template <class T, int N>
constexpr DenseTable<T, N> make_dense4() {
    DenseTable<T, N> table{};
    for (int k = 0; k < N; ++k)
        for (int n = 0; n < N; ++n) table.entry[k][n] = static_cast<T>(cos_pi((2 * n + 1) * (2 * k + 1), 4 * N));
    return table;
}

template <class V, class T, int N>
struct Codelet {
    static constexpr int kHalf = N / 2;
    static constexpr bool kOdd = N % 2 == 1;
    using Half = Codelet<V, T, kHalf>;

    static SOFTDIFF_INLINE void dct2(const V* x, V* y) {
        if constexpr (N == 1) {
            y[0] = x[0];
        } else if constexpr (kOdd) {
            dct2_odd(x, y);
        } else {
            V sum[kHalf], difference[kHalf], even[kHalf], odd[kHalf];
            SOFTDIFF_UNROLL
            for (int i = 0; i < kHalf; ++i) {
                sum[i] = x[i] + x[N - 1 - i];
                difference[i] = x[i] - x[N - 1 - i];
            }
            Half::dct2(sum, even);
            Half::dct4(difference, odd);
            SOFTDIFF_UNROLL
            for (int k = 0; k < kHalf; ++k) {
                y[2 * k] = even[k];
                y[2 * k + 1] = odd[k];
            }
        }
    }

    static SOFTDIFF_INLINE void dct3(const V* x, V* y) {
        if constexpr (N == 1) {
            y[0] = x[0];
        } else if constexpr (kOdd) {
            dct3_odd(x, y);
        } else {
            V even[kHalf], odd[kHalf], sum[kHalf], difference[kHalf];
            SOFTDIFF_UNROLL
            for (int k = 0; k < kHalf; ++k) {
                even[k] = x[2 * k];
                odd[k] = x[2 * k + 1];
            }
            Half::dct3(even, sum);
            Half::dct4(odd, difference);
            SOFTDIFF_UNROLL
            for (int i = 0; i < kHalf; ++i) {
                y[i] = sum[i] + difference[i];
                y[N - 1 - i] = sum[i] - difference[i];
            }
        }
    }

    static SOFTDIFF_INLINE void dct4(const V* x, V* y) {
        if constexpr (N == 1) {
            y[0] = x[0] * static_cast<T>(cos_pi(1, 4));
        } else if constexpr (N == 2) {
            constexpr T c = static_cast<T>(cos_pi(1, 8));
            constexpr T s = static_cast<T>(sin_pi(1, 8));
            const V p = x[0], q = x[1];
            y[0] = p * c + q * s;
            y[1] = p * s - q * c;
        } else if constexpr (kOdd) {
            dct4_odd(x, y);
        } else {
            constexpr auto rotation = make_rotations<T, N>();
            V a[kHalf], b[kHalf], low[kHalf], high[kHalf];
            SOFTDIFF_UNROLL
            for (int i = 0; i < kHalf; ++i) {
                const V p = x[i], q = x[N - 1 - i];
                const T c = rotation.cosine[i], s = rotation.sine[i];
                a[i] = p * c + q * s;
                b[i] = i % 2 == 0 ? p * s - q * c : q * c - p * s;
            }
            Half::dct2(a, low);
            Half::dct2(b, high);
            y[0] = low[0];
            y[N - 1] = high[0];
            SOFTDIFF_UNROLL
            for (int k = 1; k < kHalf; ++k) {
                y[2 * k - 1] = low[k] + high[kHalf - k];
                y[2 * k] = low[k] - high[kHalf - k];
            }
        }
    }

  private:
    static constexpr int kEven = (N + 1) / 2;  // outputs (and folded inputs) of the symmetric half; N - kEven of the other

    static SOFTDIFF_INLINE void dct2_odd(const V* x, V* y) {
        constexpr auto even = make_dense2<T, N, 0>();
        constexpr auto odd = make_dense2<T, N, 1>();
        V sum[kEven], difference[kHalf];
        SOFTDIFF_UNROLL
        for (int i = 0; i < kHalf; ++i) {
            sum[i] = x[i] + x[N - 1 - i];
            difference[i] = x[i] - x[N - 1 - i];
        }
        sum[kHalf] = x[kHalf];
        SOFTDIFF_UNROLL
        for (int k = 0; k < kEven; ++k) {
            V total = sum[0] * even.entry[k][0];
            SOFTDIFF_UNROLL
            for (int n = 1; n < kEven; ++n) total += sum[n] * even.entry[k][n];
            y[2 * k] = total;
        }
        SOFTDIFF_UNROLL
        for (int k = 0; k < kHalf; ++k) {
            V total = difference[0] * odd.entry[k][0];
            SOFTDIFF_UNROLL
            for (int n = 1; n < kHalf; ++n) total += difference[n] * odd.entry[k][n];
            y[2 * k + 1] = total;
        }
    }

    static SOFTDIFF_INLINE void dct3_odd(const V* x, V* y) {
        constexpr auto even = make_dense2<T, N, 0>();
        constexpr auto odd = make_dense2<T, N, 1>();
        SOFTDIFF_UNROLL
        for (int n = 0; n < kEven; ++n) {
            V symmetric = x[0] * even.entry[0][n];
            SOFTDIFF_UNROLL
            for (int k = 1; k < kEven; ++k) symmetric += x[2 * k] * even.entry[k][n];
            if (n == kHalf) {  // the middle output: the antisymmetric half is 0 there
                y[n] = symmetric;
            } else {
                V antisymmetric = x[1] * odd.entry[0][n];
                SOFTDIFF_UNROLL
                for (int k = 1; k < kHalf; ++k) antisymmetric += x[2 * k + 1] * odd.entry[k][n];
                y[n] = symmetric + antisymmetric;
                y[N - 1 - n] = symmetric - antisymmetric;
            }
        }
    }

    static SOFTDIFF_INLINE void dct4_odd(const V* x, V* y) {
        constexpr auto dense = make_dense4<T, N>();
        SOFTDIFF_UNROLL
        for (int k = 0; k < N; ++k) {
            V total = x[0] * dense.entry[k][0];
            SOFTDIFF_UNROLL
            for (int n = 1; n < N; ++n) total += x[n] * dense.entry[k][n];
            y[k] = total;
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

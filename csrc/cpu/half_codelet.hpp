// H_N, the cosine and the sine half of a real DFT of length N (odd.hpp), as straight-line code on an array of values in the order
// c[0] .. c[N/2], d[1] .. d[(N-1)/2]:
//
//   C[k] = sum_j c[j] cos(2 pi j k / N),   S[k] = sum_j d[j] sin(2 pi j k / N)
//
// Even N: terms of even and of odd j apart, since C[N/2-k] and S[N/2-k] are the same two sums with other signs.
#pragma once

#include "../core/trig.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class V, class T, int N>
struct HalfCodelet {
    static constexpr int kTop = N / 2;          // last index of c
    static constexpr int kSines = (N - 1) / 2;  // d has indices 1 .. kSines

    // z[0] .. z[N-1] to c[j] = z[j] + z[N-j] and d[j] = z[j] - z[N-j], and the transpose.
    static SOFTDIFF_INLINE void fold(V* v) {
        V z[N];
        SOFTDIFF_UNROLL
        for (int j = 0; j < N; ++j) z[j] = v[j];
        SOFTDIFF_UNROLL
        for (int j = 1; j <= kSines; ++j) {
            v[j] = z[j] + z[N - j];
            v[kTop + j] = z[j] - z[N - j];
        }
    }
    static SOFTDIFF_INLINE void unfold(V* v) {
        V z[N];
        SOFTDIFF_UNROLL
        for (int j = 0; j < N; ++j) z[j] = v[j];
        SOFTDIFF_UNROLL
        for (int j = 1; j <= kSines; ++j) {
            v[j] = z[j] + z[kTop + j];
            v[N - j] = z[j] - z[kTop + j];
        }
    }

    static SOFTDIFF_INLINE void transform(V* v) {
        V c[kTop + 1], d[kSines + 1];
        SOFTDIFF_UNROLL
        for (int j = 0; j <= kTop; ++j) c[j] = v[j];
        SOFTDIFF_UNROLL
        for (int j = 1; j <= kSines; ++j) d[j] = v[kTop + j];
        if constexpr (N % 2 == 1) {
            SOFTDIFF_UNROLL
            for (int k = 0; k <= kTop; ++k) {
                V sum = c[0];
                SOFTDIFF_UNROLL
                for (int j = 1; j <= kTop; ++j) sum += c[j] * cosine(j * k);
                v[k] = sum;
            }
            SOFTDIFF_UNROLL
            for (int k = 1; k <= kSines; ++k) {
                V sum = d[1] * sine(k);
                SOFTDIFF_UNROLL
                for (int j = 2; j <= kSines; ++j) sum += d[j] * sine(j * k);
                v[kTop + k] = sum;
            }
        } else {
            SOFTDIFF_UNROLL
            for (int k = 0; 2 * k <= kTop; ++k) {
                V even = c[0], odd = c[1] * cosine(k);
                SOFTDIFF_UNROLL
                for (int j = 2; j <= kTop; ++j) add(j % 2 == 0 ? even : odd, c[j], cosine(j * k));
                v[k] = even + odd;
                v[kTop - k] = even - odd;
            }
            if constexpr (kSines > 0) {
                SOFTDIFF_UNROLL
                for (int k = 1; 2 * k <= kTop; ++k) {
                    V even{}, odd = d[1] * sine(k);
                    SOFTDIFF_UNROLL
                    for (int j = 2; j <= kSines; ++j) add(j % 2 == 0 ? even : odd, d[j], sine(j * k));
                    v[kTop + k] = odd + even;
                    v[kTop + kTop - k] = odd - even;
                }
            }
        }
    }

  private:
    // Zeros are left out at compile time: arithmetic may not do it.
    static SOFTDIFF_INLINE void add(V& sum, V value, T factor) {
        if (factor != 0) sum += value * factor;
    }

    struct Circle {
        T cosine[N], sine[N];
    };
    static constexpr Circle make_circle() {
        Circle circle{};
        for (int i = 0; i < N; ++i) {
            circle.cosine[i] = static_cast<T>(cos_pi(2 * i, N));
            circle.sine[i] = static_cast<T>(sin_pi(2 * i, N));
        }
        return circle;
    }
    static constexpr Circle kCircle = make_circle();
    static constexpr T cosine(int i) { return kCircle.cosine[i % N]; }
    static constexpr T sine(int i) { return kCircle.sine[i % N]; }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

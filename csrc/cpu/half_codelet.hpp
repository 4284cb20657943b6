// H_N, the cosine and the sine half of a real DFT of length N (odd.hpp), as straight-line code on an array of values in the
// order c[0] .. c[N/2], d[1] .. d[(N-1)/2]:
//
//   C[k] = sum_j c[j] cos(2 pi j k / N),   S[k] = sum_j d[j] sin(2 pi j k / N)
//
// Composite odd N > 9: the product of two lengths of odd.hpp. Other odd N: dense. Even N: dense, with terms of even and of odd
// j apart, since C[N/2-k] and S[N/2-k] are the same two sums with other signs.
#pragma once

#include "../core/trig.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// N = half_columns(N) rows where that is not 1.
constexpr int half_columns(int n) {
    if (n < 15 || n % 2 == 0) return 1;
    if (n % 25 == 0 || n == 45) return 5;
    if (n % 49 == 0) return 7;
    for (int a = 3; a * a <= n; a += 2)
        if (n % a == 0) return a;
    return 1;
}

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
        if constexpr (half_columns(N) > 1) {
            Product::transform(v);
        } else {
            transform_dense(v);
        }
    }

  private:
    static SOFTDIFF_INLINE void transform_dense(V* v) {
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
            if constexpr (kSines > 0) {
                SOFTDIFF_UNROLL
                for (int k = 1; k <= kSines; ++k) {
                    V sum = d[1] * sine(k);
                    SOFTDIFF_UNROLL
                    for (int j = 2; j <= kSines; ++j) sum += d[j] * sine(j * k);
                    v[kTop + k] = sum;
                }
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

    // Indices of grid cell (j1, +-j2), j1 <= A/2, j2 <= B/2: (u j1 +- v j2) mod N, folded to 0 .. N/2 with the sign of d.
    struct Map {
        int plus[N], minus[N], plus_sign[N], minus_sign[N];
    };
    static constexpr Map make_map(int u, int v) {
        Map map{};
        constexpr int B = N / half_columns(N);
        for (int j1 = 0; j1 <= half_columns(N) / 2; ++j1) {
            for (int j2 = 0; j2 <= B / 2; ++j2) {
                const int i = j1 * B + j2, plus = (u * j1 + v * j2) % N, minus = (u * j1 + (N - v) * j2) % N;
                map.plus[i] = plus > kTop ? N - plus : plus;
                map.plus_sign[i] = plus > kTop ? -1 : 1;
                map.minus[i] = minus > kTop ? N - minus : minus;
                map.minus_sign[i] = minus > kTop ? -1 : 1;
            }
        }
        return map;
    }

    // H_N for N = A B, both odd: odd.hpp.
    struct Product {
        static constexpr int A = half_columns(N), B = N / A, kA = A / 2, kB = B / 2;
        static constexpr bool kCoprime = A % 3 != 0 ? B % A != 0 : B % 3 != 0;
        static constexpr int inverse(int a, int n) {
            int b = 1;
            while (a * b % n != 1) ++b;
            return b;
        }
        static constexpr Map kIn = kCoprime ? make_map(B, A) : make_map(B, 1);
        static constexpr Map make_out() {
            if constexpr (kCoprime) return make_map(B * inverse(B, A), A * inverse(A, B));
            return make_map(1, A);
        }
        static constexpr Map kOut = make_out();

        static SOFTDIFF_INLINE void transform(V* v) {
            V grid[N];
            SOFTDIFF_UNROLL
            for (int j1 = 0; j1 <= kA; ++j1) {
                SOFTDIFF_UNROLL
                for (int j2 = 0; j2 <= kB; ++j2) {
                    const int i = j1 * B + j2, s = i + kA * B;
                    const V c = v[kIn.plus[i]];
                    if (j1 == 0 && j2 == 0) {
                        grid[0] = c;
                        continue;
                    }
                    const V d = v[kTop + kIn.plus[i]] * T(kIn.plus_sign[i]);
                    if (j1 == 0 || j2 == 0) {
                        grid[i] = c;
                        grid[j1 == 0 ? i + kB : s] = d;
                        continue;
                    }
                    const V c_minus = v[kIn.minus[i]], d_minus = v[kTop + kIn.minus[i]] * T(kIn.minus_sign[i]);
                    grid[i] = c + c_minus;
                    grid[s + kB] = c - c_minus;
                    grid[s] = d + d_minus;
                    grid[i + kB] = d - d_minus;
                }
            }
            SOFTDIFF_UNROLL
            for (int i = 0; i < B; ++i) {
                V column[A];
                SOFTDIFF_UNROLL
                for (int j = 0; j < A; ++j) column[j] = grid[j * B + i];
                HalfCodelet<V, T, A>::transform(column);
                SOFTDIFF_UNROLL
                for (int k = 0; k < A; ++k) grid[k * B + i] = column[k];
            }
            if constexpr (!kCoprime) {
                SOFTDIFF_UNROLL
                for (int k1 = 1; k1 <= kA; ++k1) {
                    SOFTDIFF_UNROLL
                    for (int j2 = 1; j2 <= kB; ++j2) {
                        const T c = cosine(k1 * j2), s = sine(k1 * j2);
                        V *even = grid + k1 * B + j2, *odd = even + kA * B;
                        const V even_even = even[0], even_odd = even[kB], odd_even = odd[0], odd_odd = odd[kB];
                        even[0] = even_even * c - odd_odd * s;
                        odd[kB] = even_even * s + odd_odd * c;
                        odd[0] = odd_even * c + even_odd * s;
                        even[kB] = even_odd * c - odd_even * s;
                    }
                }
            }
            SOFTDIFF_UNROLL
            for (int i = 0; i < A; ++i) HalfCodelet<V, T, B>::transform(grid + i * B);
            SOFTDIFF_UNROLL
            for (int k1 = 0; k1 <= kA; ++k1) {
                SOFTDIFF_UNROLL
                for (int k2 = 0; k2 <= kB; ++k2) {
                    const int i = k1 * B + k2, s = i + kA * B;
                    if (k1 == 0 && k2 == 0) {
                        v[0] = grid[0];
                        continue;
                    }
                    if (k1 == 0 || k2 == 0) {
                        v[kOut.plus[i]] = grid[i];
                        v[kTop + kOut.plus[i]] = grid[k1 == 0 ? i + kB : s] * T(kOut.plus_sign[i]);
                        continue;
                    }
                    v[kOut.plus[i]] = grid[i] - grid[s + kB];
                    v[kOut.minus[i]] = grid[i] + grid[s + kB];
                    v[kTop + kOut.plus[i]] = (grid[s] + grid[i + kB]) * T(kOut.plus_sign[i]);
                    v[kTop + kOut.minus[i]] = (grid[s] - grid[i + kB]) * T(kOut.minus_sign[i]);
                }
            }
        }
    };
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

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
// A rotation is three steps p += t q, q -= s p, p += t q with t = tan(angle / 2), s = sin(angle) (lifting: Daubechies and
// Sweldens 1998), three multiply-adds where products with its cosine and sine are four operations; t < 0.42, so that rounding
// does not grow either.
// Odd N: dense, C2 and C3 split into the symmetric and the antisymmetric half.
//
// Values come and go through views: x[i] reads value i, y.put(k, v) takes value k. A codelet reads a value where it first needs
// it and puts a result as soon as it is there; with arrays in between, the compiler would hold all N values at once, more than
// there are registers. x and y may not overlap.
#pragma once

#include <utility>

#include "trig.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// body(i) for i = 0 .. N - 1, each i a constant of the type system: what is computed from it is a literal in the code.
template <class Body, int... I>
SOFTDIFF_INLINE void unrolled(Body body, std::integer_sequence<int, I...>) {
    (body(std::integral_constant<int, I>{}), ...);
}
template <int N, class Body>
SOFTDIFF_INLINE void unrolled(Body body) {
    unrolled(body, std::make_integer_sequence<int, N>{});
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

// C4(N) for odd N as a sum and a difference of the cosine and the sine half of a real DFT of length N (Chan and Siu 1993). Each
// odd number 2n + 1 is 4m + N for one m in [0, N) but for multiples of 8N and signs, of itself and of the cosine: n = place(m).
// There the cosine of C4 is
//
//   cos(pi (4m+N)(4l+N) / 4N) = (-1)^(m+l) (cos(pi N / 4) cos(4 pi m l / N) - sin(pi N / 4) sin(4 pi m l / N)),
//
// even and odd in m and l: half of each is enough.
template <class T, int N>
struct OddDct4 {
    static constexpr int kHalf = N / 2;

    // (4m + N) mod 8N, reflected at 4N, where the cosine of odd multiples is even, into [0, 4N]; at 2N it is odd.
    static constexpr int reflected(int m) {
        const int u = (4 * m + N) % (8 * N);
        return u > 4 * N ? 8 * N - u : u;
    }
    static constexpr bool beyond(int m) { return reflected(m) > 2 * N; }
    static constexpr int place(int m) { return ((beyond(m) ? 4 * N - reflected(m) : reflected(m)) - 1) / 2; }
    // Of the input or output at place(m), with (-1)^m.
    static constexpr int sign(int m) { return beyond(m) == (m % 2 == 1) ? 1 : -1; }

    // Inputs m and N - m are added and subtracted; where their signs differ, the other way round. Outputs l and N - l likewise.
    static constexpr bool alike(int m) { return sign(m) == sign(N - m); }
    static constexpr T cosine(int m, int l) {  // of the input m, folded with N - m, in the output l
        return static_cast<T>(sign(m) * sign(l) * cos_pi(N, 4) * cos_pi(4LL * m * l, N));
    }
    static constexpr T sine(int m, int l) {
        return static_cast<T>(sign(m) * sign(l) * (alike(l) ? 1 : -1) * sin_pi(N, 4) * sin_pi(4LL * m * l, N));
    }
};

// A view of an array of values.
template <class V>
struct Values {
    V* data;
    SOFTDIFF_INLINE V operator[](int i) const { return data[i]; }
    SOFTDIFF_INLINE void put(int i, V value) const { data[i] = value; }
};

// Every second value of a view, from the first or the second on.
template <int First, class View>
struct Every2 {
    View view;
    SOFTDIFF_INLINE auto operator[](int i) const { return view[2 * i + First]; }
    template <class V>
    SOFTDIFF_INLINE void put(int i, V value) const {
        view.put(2 * i + First, value);
    }
};

template <class V, class T, int N>
struct Codelet {
    static constexpr int kHalf = N / 2;
    static constexpr bool kOdd = N % 2 == 1;
    using Half = Codelet<V, T, kHalf>;

    template <class In, class Out>
    static SOFTDIFF_INLINE void dct2(In x, Out y) {
        if constexpr (N == 1) {
            y.put(0, x[0]);
        } else if constexpr (kOdd) {
            dct2_odd(x, y);
        } else {
            V sum[kHalf], difference[kHalf];
            SOFTDIFF_UNROLL
            for (int i = 0; i < kHalf; ++i) {
                const V p = x[i], q = x[N - 1 - i];
                sum[i] = p + q;
                difference[i] = p - q;
            }
            Half::dct2(Values<V>{sum}, Every2<0, Out>{y});
            Half::dct4(Values<V>{difference}, Every2<1, Out>{y});
        }
    }

    template <class In, class Out>
    static SOFTDIFF_INLINE void dct3(In x, Out y) {
        if constexpr (N == 1) {
            y.put(0, x[0]);
        } else if constexpr (kOdd) {
            dct3_odd(x, y);
        } else {
            V sum[kHalf], difference[kHalf];
            Half::dct3(Every2<0, In>{x}, Values<V>{sum});
            Half::dct4(Every2<1, In>{x}, Values<V>{difference});
            SOFTDIFF_UNROLL
            for (int i = 0; i < kHalf; ++i) {
                y.put(i, sum[i] + difference[i]);
                y.put(N - 1 - i, sum[i] - difference[i]);
            }
        }
    }

    template <class In, class Out>
    static SOFTDIFF_INLINE void dct4(In x, Out y) {
        if constexpr (N == 1) {
            y.put(0, x[0] * static_cast<T>(cos_pi(1, 4)));
        } else if constexpr (N == 2) {
            V a, b;
            rotate<0>(x[0], x[1], a, b);
            y.put(0, a);
            y.put(1, b);
        } else if constexpr (kOdd) {
            dct4_odd(x, y);
        } else {
            V a[kHalf], b[kHalf], low[kHalf], high[kHalf];
            unrolled<kHalf>([&](auto i) SOFTDIFF_INLINE_LAMBDA { rotate<i>(x[i], x[N - 1 - i], a[i], b[i]); });
            Half::dct2(Values<V>{a}, Values<V>{low});
            Half::dct2(Values<V>{b}, Values<V>{high});
            y.put(0, low[0]);
            y.put(N - 1, high[0]);
            SOFTDIFF_UNROLL
            for (int k = 1; k < kHalf; ++k) {
                y.put(2 * k - 1, low[k] + high[kHalf - k]);
                y.put(2 * k, low[k] - high[kHalf - k]);
            }
        }
    }

  private:
    // Pair I of C4 turned: a = p cos + q sin, and b = p sin - q cos or, for odd I, its negative.
    template <int I>
    static SOFTDIFF_INLINE void rotate(V p, V q, V& a, V& b) {
        constexpr T s = static_cast<T>(sin_pi(2 * I + 1, 4 * N));
        constexpr T t = static_cast<T>(sin_pi(2 * I + 1, 8 * N) / cos_pi(2 * I + 1, 8 * N));
        const V u = p + q * t;
        if constexpr (I % 2 == 0) {
            b = u * s - q;
            a = u - b * t;
        } else {
            b = q - u * s;
            a = u + b * t;
        }
    }

    static constexpr int kEven = (N + 1) / 2;  // outputs (and folded inputs) of the symmetric half; N - kEven of the other

    template <class In, class Out>
    static SOFTDIFF_INLINE void dct2_odd(In x, Out y) {
        constexpr auto even = make_dense2<T, N, 0>();
        constexpr auto odd = make_dense2<T, N, 1>();
        V sum[kEven], difference[kHalf];
        SOFTDIFF_UNROLL
        for (int i = 0; i < kHalf; ++i) {
            const V p = x[i], q = x[N - 1 - i];
            sum[i] = p + q;
            difference[i] = p - q;
        }
        sum[kHalf] = x[kHalf];
        SOFTDIFF_UNROLL
        for (int k = 0; k < kEven; ++k) {
            V total = sum[0] * even.entry[k][0];
            SOFTDIFF_UNROLL
            for (int n = 1; n < kEven; ++n) total += sum[n] * even.entry[k][n];
            y.put(2 * k, total);
        }
        SOFTDIFF_UNROLL
        for (int k = 0; k < kHalf; ++k) {
            V total = difference[0] * odd.entry[k][0];
            SOFTDIFF_UNROLL
            for (int n = 1; n < kHalf; ++n) total += difference[n] * odd.entry[k][n];
            y.put(2 * k + 1, total);
        }
    }

    template <class In, class Out>
    static SOFTDIFF_INLINE void dct3_odd(In view, Out y) {
        constexpr auto even = make_dense2<T, N, 0>();
        constexpr auto odd = make_dense2<T, N, 1>();
        V x[N];
        SOFTDIFF_UNROLL
        for (int k = 0; k < N; ++k) x[k] = view[k];
        SOFTDIFF_UNROLL
        for (int n = 0; n < kEven; ++n) {
            V symmetric = x[0] * even.entry[0][n];
            SOFTDIFF_UNROLL
            for (int k = 1; k < kEven; ++k) symmetric += x[2 * k] * even.entry[k][n];
            if (n == kHalf) {  // the middle output: the antisymmetric half is 0 there
                y.put(n, symmetric);
            } else {
                V antisymmetric = x[1] * odd.entry[0][n];
                SOFTDIFF_UNROLL
                for (int k = 1; k < kHalf; ++k) antisymmetric += x[2 * k + 1] * odd.entry[k][n];
                y.put(n, symmetric + antisymmetric);
                y.put(N - 1 - n, symmetric - antisymmetric);
            }
        }
    }

    template <class In, class Out>
    static SOFTDIFF_INLINE void dct4_odd(In x, Out y) {
        using Map = OddDct4<T, N>;
        V even[kHalf + 1], odd[kHalf + 1];  // in m
        even[0] = x[Map::place(0)];
        unrolled<kHalf>([&](auto i) SOFTDIFF_INLINE_LAMBDA {
            constexpr int m = i + 1;
            const V p = x[Map::place(m)], q = x[Map::place(N - m)];
            even[m] = Map::alike(m) ? p + q : p - q;
            odd[m] = Map::alike(m) ? p - q : p + q;
        });
        constexpr T constant = Map::cosine(0, 0);  // but for its sign in all outputs
        const V first = even[0] * constant;
        unrolled<kHalf + 1>([&](auto l) SOFTDIFF_INLINE_LAMBDA {
            constexpr bool negative = Map::cosine(0, l) != constant;
            V sum = first;
            unrolled<kHalf>([&](auto i) SOFTDIFF_INLINE_LAMBDA {
                constexpr T factor = Map::cosine(i + 1, l);
                sum = i == 0 && negative ? even[1] * factor - sum : sum + even[i + 1] * factor;
            });
            if constexpr (l == 0) {
                y.put(Map::place(0), sum);
            } else {
                V difference{};
                unrolled<kHalf>([&](auto i) SOFTDIFF_INLINE_LAMBDA {
                    constexpr T factor = Map::sine(i + 1, l);
                    difference = i == 0 ? odd[i + 1] * factor : difference + odd[i + 1] * factor;
                });
                // The output N - l has the sum of the two halves, or its negative.
                y.put(Map::place(l), Map::alike(l) ? sum - difference : sum + difference);
                y.put(Map::place(N - l), Map::alike(l) ? sum + difference : difference - sum);
            }
        });
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

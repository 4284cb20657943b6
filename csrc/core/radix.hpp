// The first log2(R) levels of a long transform C2(R n), done in registers on R values at a time: the recursion of codelets.hpp
// cut off after R slots of length n, which codelets then finish.
//
// The R positions that the recursion mixes are those of a strip folded log2(R) times: for i in [0, n),
//   fold_position(j, i) = j n + i            (j even)
//                         (j + 1) n - 1 - i  (j odd),       j = 0 .. R-1,
// since every level pairs position p with M - 1 - p, that is j with R - 1 - j. `split` turns the R inputs of one i into element
// i of the R slots; `join` is its transpose. A slot needs C2 or C4 of length n afterwards: `slot_is_dct4`.
#pragma once

#include "config.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr int fold_position(int j, int i, int n) { return j % 2 == 0 ? j * n + i : (j + 1) * n - 1 - i; }

// Rotations that one i needs in a C2 (Dct4 = false) or C4 (Dct4 = true) node of R slots.
constexpr int rotation_count(bool dct4, int slots) {
    if (slots == 1) return 0;
    return dct4 ? slots / 2 + 2 * rotation_count(false, slots / 2)
                : rotation_count(false, slots / 2) + rotation_count(true, slots / 2);
}

// Whether slot j of a C2 (dct4 = false) or C4 node of `slots` slots ends as a C4.
constexpr bool slot_is_dct4(bool dct4, int slots, int j) {
    if (slots == 1) return dct4;
    const bool second = j >= slots / 2;
    return slot_is_dct4(!dct4 && second, slots / 2, second ? j - slots / 2 : j);
}

// Four factors per rotation, in the order of use: p c + q s and p s' + q c', where (s', c') = (s, -c) or (-s, c) by parity.
constexpr int kFactorsPerRotation = 4;

// Rotation j of those at `factors`. Views of rotations that lie apart have a function of this name of their own.
template <class T>
SOFTDIFF_INLINE const T* rotation_of(const T* factors, int j) {
    return factors + j * kFactorsPerRotation;
}

template <bool Dct4, int R>
struct Radix {
    static constexpr int kHalf = R / 2;
    using First = Radix<false, kHalf>;   // C2: sums.         C4: first rotated half.
    using Second = Radix<!Dct4, kHalf>;  // C2: differences.  C4: second rotated half, also a C2.
    static constexpr int kOwn = Dct4 ? kHalf * kFactorsPerRotation : 0;
    static constexpr int kFirst = rotation_count(false, kHalf) * kFactorsPerRotation;

    // v[R]: the inputs at fold_position(j); afterwards v[j] is this i's element of slot j. `factors` is a pointer, or a view
    // that can be moved like one.
    template <class V, class Factors>
    static SOFTDIFF_INLINE void split(V* v, Factors factors) {
        V a[kHalf], b[kHalf];
        SOFTDIFF_UNROLL
        for (int j = 0; j < kHalf; ++j) {
            const V p = v[j], q = v[R - 1 - j];
            if constexpr (Dct4) {
                const auto f = rotation_of(factors, j);
                a[j] = p * f[0] + q * f[1];
                b[j] = p * f[2] + q * f[3];
            } else {
                a[j] = p + q;
                b[j] = p - q;
            }
        }
        First::split(a, factors + kOwn);
        Second::split(b, factors + kOwn + kFirst);
        SOFTDIFF_UNROLL
        for (int j = 0; j < kHalf; ++j) {
            v[j] = a[j];
            v[kHalf + j] = b[j];
        }
    }

    template <class V, class Factors>
    static SOFTDIFF_INLINE void join(V* v, Factors factors) {
        V a[kHalf], b[kHalf];
        SOFTDIFF_UNROLL
        for (int j = 0; j < kHalf; ++j) {
            a[j] = v[j];
            b[j] = v[kHalf + j];
        }
        First::join(a, factors + kOwn);
        Second::join(b, factors + kOwn + kFirst);
        SOFTDIFF_UNROLL
        for (int j = 0; j < kHalf; ++j) {
            if constexpr (Dct4) {
                const auto f = rotation_of(factors, j);
                v[j] = a[j] * f[0] + b[j] * f[2];
                v[R - 1 - j] = a[j] * f[1] + b[j] * f[3];
            } else {
                v[j] = a[j] + b[j];
                v[R - 1 - j] = a[j] - b[j];
            }
        }
    }
};

template <bool Dct4>
struct Radix<Dct4, 1> {
    template <class V, class Factors>
    static SOFTDIFF_INLINE void split(V*, Factors) {}
    template <class V, class Factors>
    static SOFTDIFF_INLINE void join(V*, Factors) {}
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

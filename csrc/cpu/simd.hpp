// SIMD vectors by the compiler's vector extensions: SOFTDIFF_VECTOR_BYTES (64, 32 or 16) is the only thing an instruction set
// sets, but for the conversions of 16-bit storage (storage.hpp). A vector's lanes are independent lines of an image.
#pragma once

#include <cmath>
#include <type_traits>
#include <utility>

#include "../core/config.hpp"

#ifndef SOFTDIFF_VECTOR_BYTES
#define SOFTDIFF_VECTOR_BYTES 16
#endif

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr int kVectorBytes = SOFTDIFF_VECTOR_BYTES;

template <class T>
struct VectorOf {
    using type [[gnu::vector_size(SOFTDIFF_VECTOR_BYTES)]] = T;
    using unaligned [[gnu::vector_size(SOFTDIFF_VECTOR_BYTES), gnu::aligned(alignof(T)), gnu::may_alias]] = T;
};
template <class T>
using Vec = typename VectorOf<T>::type;

template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
SOFTDIFF_INLINE Vec<T> load(const T* p) {
    return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(p);
}

template <class T>
SOFTDIFF_INLINE void store(T* p, Vec<T> v) {
    *reinterpret_cast<typename VectorOf<T>::unaligned*>(p) = v;
}

template <class T>
SOFTDIFF_INLINE Vec<T> square_root(Vec<T> v) {  // of max(v, 0): rounding may leave a variance a hair below 0
    T lanes[kLanes<T>];                         // as an array, for which the compiler has a vector instruction
    store(lanes, v);
#pragma omp simd
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] = std::sqrt(lanes[i] > 0 ? lanes[i] : T(0));
    return load(lanes);
}

namespace detail {

// Index patterns of two-operand shuffles on vectors of L elements in 128-bit groups of `group` elements.
struct InterleaveLow {  // a0 b0 a1 b1 ... of the lower half of each group, `unit` elements at a time
    static constexpr int at(int i, int count, int group, int unit) {
        const int base = i / group * group, inside = i % group / unit;
        return base + inside / 2 * unit + i % unit + (inside % 2 == 0 ? 0 : count);
    }
};
struct InterleaveHigh {
    static constexpr int at(int i, int count, int group, int unit) {
        return InterleaveLow::at(i, count, group, unit) + group / 2;
    }
};
struct EvenGroups {  // groups 0, 2, .. of a, then of b
    static constexpr int at(int i, int count, int group, int) {
        const int groups = count / group, g = i / group;
        return groups == 1 ? i : (2 * g % groups) * group + i % group + (2 * g < groups ? 0 : count);
    }
};
struct OddGroups {
    static constexpr int at(int i, int count, int group, int unit) { return EvenGroups::at(i, count, group, unit) + group; }
};

template <class Pattern, class T, int Unit, int... I>
SOFTDIFF_INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
    constexpr int group = 16 / static_cast<int>(sizeof(T));
    return __builtin_shufflevector(a, b, Pattern::at(I, kLanes<T>, group, Unit)...);
}
template <class Pattern, class T, int Unit = 1>
SOFTDIFF_INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b) {
    return shuffle<Pattern, T, Unit>(a, b, std::make_integer_sequence<int, kLanes<T>>{});
}

}  // namespace detail

// Lane i of the result is lane places[i] of `v`.
template <class V, class Places>
SOFTDIFF_INLINE V permute(V v, Places places) {
#if defined(__clang__)
    V out;
    for (unsigned i = 0; i < sizeof(V) / sizeof(v[0]); ++i) out[i] = v[places[i]];
    return out;
#else
    return __builtin_shuffle(v, places);
#endif
}

struct Nothing {
    SOFTDIFF_INLINE void operator()(int) const {}
};

// The compiler may move nothing that makes `value` behind this, and nothing that uses it before.
template <class V>
SOFTDIFF_INLINE void pin(V& value) {
#if defined(__x86_64__)
    asm volatile("" : "+v"(value));
#elif defined(__aarch64__)
    asm volatile("" : "+w"(value));
#else
    (void)value;
#endif
}

namespace detail {

constexpr int log2_of(int n) { return n <= 1 ? 0 : 1 + log2_of(n / 2); }

// Counts the kLanes log2 kLanes shuffles of a transpose, and calls meanwhile(0), .. meanwhile(kLanes - 1) between them.
template <class T, class Meanwhile>
struct Paced {
    Meanwhile meanwhile;
    int done = 0;
    SOFTDIFF_INLINE Vec<T> operator()(Vec<T> shuffled) {
        constexpr int kEvery = log2_of(kLanes<T>);
        if constexpr (!std::is_same_v<Meanwhile, Nothing>) {
            if (++done % kEvery == 0) {
                pin(shuffled);
                meanwhile(done / kEvery - 1);
            }
        }
        return shuffled;
    }
};

}  // namespace detail

// In-register transpose of a kLanes x kLanes block, first inside 128-bit groups, then of the groups. Evenly spread over it,
// meanwhile(0), .. meanwhile(kLanes - 1) are called.
template <class T, class Meanwhile = Nothing>
SOFTDIFF_INLINE void transpose(Vec<T>* rows, Meanwhile meanwhile = {}) {
    using namespace detail;
    Paced<T, Meanwhile> pace{meanwhile};
    constexpr int L = kLanes<T>, G = 16 / static_cast<int>(sizeof(T)), Q = L / G;
    Vec<T> a[L], b[L];
    SOFTDIFF_UNROLL
    for (int i = 0; i < L; i += 2) {
        a[i] = pace(shuffle<InterleaveLow, T>(rows[i], rows[i + 1]));
        a[i + 1] = pace(shuffle<InterleaveHigh, T>(rows[i], rows[i + 1]));
    }
    if constexpr (G == 4) {
        SOFTDIFF_UNROLL
        for (int i = 0; i < L; i += 4) {
            b[i] = pace(shuffle<InterleaveLow, T, 2>(a[i], a[i + 2]));
            b[i + 1] = pace(shuffle<InterleaveHigh, T, 2>(a[i], a[i + 2]));
            b[i + 2] = pace(shuffle<InterleaveLow, T, 2>(a[i + 1], a[i + 3]));
            b[i + 3] = pace(shuffle<InterleaveHigh, T, 2>(a[i + 1], a[i + 3]));
        }
    } else {
        SOFTDIFF_UNROLL
        for (int i = 0; i < L; ++i) b[i] = a[i];
    }
    // Group q of b[G g + c] now holds column G q + c of rows G g .. G g + G - 1.
    SOFTDIFF_UNROLL
    for (int c = 0; c < G; ++c) {
        if constexpr (Q == 1) {
            rows[c] = b[c];
        } else if constexpr (Q == 2) {
            rows[c] = pace(shuffle<EvenGroups, T>(b[c], b[G + c]));
            rows[G + c] = pace(shuffle<OddGroups, T>(b[c], b[G + c]));
        } else {
            const Vec<T> even01 = pace(shuffle<EvenGroups, T>(b[c], b[G + c])),
                         even23 = pace(shuffle<EvenGroups, T>(b[2 * G + c], b[3 * G + c]));
            const Vec<T> odd01 = pace(shuffle<OddGroups, T>(b[c], b[G + c])),
                         odd23 = pace(shuffle<OddGroups, T>(b[2 * G + c], b[3 * G + c]));
            rows[c] = pace(shuffle<EvenGroups, T>(even01, even23));
            rows[2 * G + c] = pace(shuffle<OddGroups, T>(even01, even23));
            rows[G + c] = pace(shuffle<EvenGroups, T>(odd01, odd23));
            rows[3 * G + c] = pace(shuffle<OddGroups, T>(odd01, odd23));
        }
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// SIMD vectors by the compiler's vector extensions: SOFTDIFF_VECTOR_BYTES (64, 32 or 16) is the only thing an instruction set
// sets, but for the conversions of 16-bit storage. A vector's lanes are independent lines of an image.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__F16C__)
#include <immintrin.h>
#endif

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

// ---- 16-bit storage: float32 in the arithmetic
// -------------------------------------------------------------------------------

struct Half {
    std::uint16_t bits;
};
struct BFloat16 {
    std::uint16_t bits;
};

template <int Lanes>
using Words16 [[gnu::vector_size(2 * Lanes)]] = std::uint16_t;

SOFTDIFF_INLINE float to_float(BFloat16 value) {
    const std::uint32_t bits = static_cast<std::uint32_t>(value.bits) << 16;
    float out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
}

SOFTDIFF_INLINE BFloat16 to_bfloat16(float value) {  // round to nearest even; a NaN stays one
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
    const bool nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
    return {static_cast<std::uint16_t>(nan ? 0x7FC0U : rounded)};
}

#if defined(__F16C__)
SOFTDIFF_INLINE float to_float(Half value) { return _cvtsh_ss(value.bits); }
SOFTDIFF_INLINE Half to_half(float value) { return {static_cast<std::uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT))}; }
#else
#if defined(__ARM_FP16_FORMAT_IEEE)
using HalfNumber = __fp16;  // g++ has _Float16 on aarch64 from version 13 on only
#else
using HalfNumber = _Float16;
#endif
SOFTDIFF_INLINE float to_float(Half value) {
    HalfNumber half;
    std::memcpy(&half, &value.bits, sizeof half);
    return static_cast<float>(half);
}
SOFTDIFF_INLINE Half to_half(float value) {
    const auto half = static_cast<HalfNumber>(value);
    Half out;
    std::memcpy(&out.bits, &half, sizeof half);
    return out;
}
#endif

// The storage type of a tensor to the type the arithmetic is done in, and back.
template <class T, class Storage>
SOFTDIFF_INLINE T from_storage(Storage value) {
    if constexpr (std::is_arithmetic_v<Storage>) {
        return value;
    } else {
        return to_float(value);
    }
}
template <class Storage, class T>
SOFTDIFF_INLINE Storage to_storage(T value) {
    if constexpr (std::is_same_v<Storage, Half>) {
        return to_half(value);
    } else if constexpr (std::is_same_v<Storage, BFloat16>) {
        return to_bfloat16(value);
    } else {
        return value;
    }
}

namespace detail {

// Every second word from the second on, and words between zeros: bfloat16 is the upper half of a float32.
template <int... I>
SOFTDIFF_INLINE Words16<sizeof...(I)> odd_words(Words16<2 * sizeof...(I)> words, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(words, words, (2 * I + 1)...);
}

template <int... I>
SOFTDIFF_INLINE Words16<sizeof...(I)> to_odd_words(Words16<sizeof...(I) / 2> words, std::integer_sequence<int, I...>) {
    constexpr int kZero = sizeof...(I) / 2;
    return __builtin_shufflevector(words, Words16<kZero>{}, (I % 2 == 0 ? kZero : I / 2)...);
}

}  // namespace detail

// A vector of T from neighbouring values in storage, and back.
template <class T, class Storage>
SOFTDIFF_INLINE Vec<T> load_as(const Storage* from) {
    constexpr int L = kLanes<T>;
    if constexpr (std::is_same_v<T, Storage>) {
        return load(from);
    } else if constexpr (std::is_same_v<Storage, BFloat16>) {
        Words16<L> bits;
        std::memcpy(&bits, from, sizeof bits);
        return reinterpret_cast<Vec<float>>(detail::to_odd_words(bits, std::make_integer_sequence<int, 2 * L>{}));
    } else {
#if defined(__AVX512F__)
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__F16C__)
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
        Vec<float> out;
        for (int i = 0; i < L; ++i) out[i] = to_float(from[i]);
        return out;
#endif
    }
}

template <class Storage, class V>
SOFTDIFF_INLINE void store_as(Storage* to, V value) {
    if constexpr (std::is_arithmetic_v<Storage>) {
        store(to, value);
    } else if constexpr (std::is_same_v<Storage, BFloat16>) {  // as to_bfloat16
        const auto bits = reinterpret_cast<Vec<std::uint32_t>>(value);
        const auto rounded = bits + (((bits >> 16) & 1U) + 0x7FFFU);
        const auto whole = reinterpret_cast<Words16<2 * kLanes<float>>>(value == value ? rounded : bits * 0 + 0x7FC00000U);
        const auto halves = detail::odd_words(whole, std::make_integer_sequence<int, kLanes<float>>{});
        std::memcpy(to, &halves, sizeof halves);
    } else {
#if defined(__AVX512F__)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
#else
        for (int i = 0; i < kLanes<float>; ++i) to[i] = to_half(value[i]);
#endif
    }
}

// Contiguous runs, a vector at a time.
template <class T, class Storage>
inline void convert_run(const Storage* from, T* to, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + kLanes<T> <= count; i += kLanes<T>) store(to + i, load_as<T>(from + i));
    for (; i < count; ++i) to[i] = from_storage<T>(from[i]);
}

template <class T, class Storage>
inline void convert_run_back(const T* from, Storage* to, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + kLanes<T> <= count; i += kLanes<T>) store_as(to + i, load(from + i));
    for (; i < count; ++i) to[i] = to_storage<Storage>(from[i]);
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

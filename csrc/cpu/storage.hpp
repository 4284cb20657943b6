// The types that tensors are stored in, and vectors of the arithmetic's type from them and back: 16-bit numbers are float32 in
// the arithmetic.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "simd.hpp"
#include "task.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

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

#if defined(__AVX512BW__)
// Of 16-bit words i of a vector, place i / 2.
template <int... I>
SOFTDIFF_INLINE __m512i half_places(std::integer_sequence<int, I...>) {
    return reinterpret_cast<__m512i>(Words16<sizeof...(I)>{(I / 2)...});
}
#endif

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
#if defined(__AVX512BW__)  // one instruction; the compiler takes two, of which one has a register of zeros to shuffle in
        const __m512i wide = _mm512_castsi256_si512(reinterpret_cast<__m256i>(bits));
        return reinterpret_cast<Vec<float>>(
            _mm512_maskz_permutexvar_epi16(0xAAAAAAAAU, detail::half_places(std::make_integer_sequence<int, 2 * L>{}), wide));
#else
        return reinterpret_cast<Vec<float>>(detail::to_odd_words(bits, std::make_integer_sequence<int, 2 * L>{}));
#endif
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

// `count` numbers of a row, `step` apart, as neighbouring numbers of T.
template <class T, class Storage>
inline void convert_row(const Storage* from, std::int64_t step, T* to, std::int64_t count) {
    if (step == 1) return convert_run(from, to, count);
    for (std::int64_t i = 0; i < count; ++i) to[i] = from_storage<T>(from[i * step]);
}

// run(Storage{}) with the storage type of `dtype`; double arithmetic stores double only.
template <class T, class Run>
inline void with_storage(Dtype dtype, Run run) {
    if constexpr (std::is_same_v<T, double>) {
        run(double{});
    } else {
        switch (dtype) {
            case Dtype::kFloat16: return run(Half{});
            case Dtype::kBFloat16: return run(BFloat16{});
            default: return run(float{});
        }
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

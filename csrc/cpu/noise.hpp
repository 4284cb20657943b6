// Runs of the counter-based normal numbers of core/normal.hpp, a vector of counters at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include "../core/normal.hpp"
#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <>
struct Lanes<Vec<float>> {
    using Scalar = float;
    using Unsigned = Vec<std::uint32_t>;
    using Signed = Vec<std::int32_t>;
    static SOFTDIFF_INLINE Vec<float> convert(Signed value) { return __builtin_convertvector(value, Vec<float>); }
    static SOFTDIFF_INLINE Vec<float> exponent(Unsigned bits) {
#if defined(__AVX512F__)
        return detail::bit_cast<Vec<float>>(_mm512_getexp_ps(detail::bit_cast<__m512>(bits)));
#else
        return convert(exponent_of_bits(detail::bit_cast<Signed>(bits)));
#endif
    }
    static SOFTDIFF_INLINE Vec<float> root(Vec<float> value) {
        SOFTDIFF_UNROLL
        for (int i = 0; i < kLanes<float>; ++i) value[i] = sqrtf(value[i]);
        return value;
    }
};

template <>
struct Lanes<Vec<double>> {
    using Scalar = double;
    using Unsigned = Vec<std::uint64_t>;
    using Signed = Vec<std::int64_t>;
    static SOFTDIFF_INLINE Vec<double> root(Vec<double> value) {
        SOFTDIFF_UNROLL
        for (int i = 0; i < kLanes<double>; ++i) value[i] = sqrt(value[i]);
        return value;
    }
};

namespace detail {

// 64-bit products of the lower halves. Intrinsics, because a vector product of 64-bit numbers compiles to three
// multiplications.
SOFTDIFF_INLINE Vec<std::uint64_t> multiply_words(Vec<std::uint64_t> a, std::uint32_t b) {
#if defined(__AVX512F__)
    return bit_cast<Vec<std::uint64_t>>(_mm512_mul_epu32(bit_cast<__m512i>(a), _mm512_set1_epi64(b)));
#elif defined(__AVX2__)
    return bit_cast<Vec<std::uint64_t>>(_mm256_mul_epu32(bit_cast<__m256i>(a), _mm256_set1_epi64x(b)));
#elif defined(__SSE2__)
    return bit_cast<Vec<std::uint64_t>>(_mm_mul_epu32(bit_cast<__m128i>(a), _mm_set1_epi64x(b)));
#elif defined(__ARM_NEON)
    return bit_cast<Vec<std::uint64_t>>(vmull_u32(vmovn_u64(bit_cast<uint64x2_t>(a)), vdup_n_u32(b)));
#else
    return (a & 0xFFFFFFFFU) * b;
#endif
}

// a0 b0 a1 b1 ... of the lower halves.
template <int... I>
SOFTDIFF_INLINE Vec<std::uint32_t> interleave_words(Vec<std::uint64_t> a, Vec<std::uint64_t> b,
                                                    std::integer_sequence<int, I...>) {
    using Words = Vec<std::uint32_t>;
    return __builtin_shufflevector(bit_cast<Words>(a), bit_cast<Words>(b),
                                   (I % 2 == 0 ? I : I - 1 + static_cast<int>(sizeof...(I)))...);
}

// kLanes<T> words as the unsigned numbers of Lanes<Vec<T>>.
template <class T>
SOFTDIFF_INLINE typename Lanes<Vec<T>>::Unsigned load_words(const std::uint32_t* words) {
    if constexpr (sizeof(T) == sizeof(*words)) {
        return load(words);
    } else {
        using Words [[gnu::vector_size(SOFTDIFF_VECTOR_BYTES / 2)]] = std::uint32_t;
        Words narrow;
        std::memcpy(&narrow, words, sizeof narrow);
        return __builtin_convertvector(narrow, Vec<std::uint64_t>);
    }
}

// 0, 2, 4, ...
template <int... I>
SOFTDIFF_INLINE Vec<std::uint64_t> even_lanes(std::integer_sequence<int, I...>) {
    return Vec<std::uint64_t>{(2 * I)...};
}

}  // namespace detail

// The Philox words of kLanes<float> counters, all within one block of kNormalLanes.
struct PhiloxVectors {
    Vec<std::uint32_t> word[4];
};

// Groups of counters that are worked on at once: a round is a chain of a multiplication, a shift and an exclusive or, and with
// one group the processor waits for it. 1, 2, 4, 6 groups of AVX-512 took 0.19, 0.16, 0.13, 0.17 ns a number; AVX2 gains
// with 2.
constexpr int kPhiloxGroups = kVectorBytes / 16;

// Philox of 2 kPhiloxGroups vectors of counters: of vector i the product of their lower halves and the first multiplier, and
// their upper half, which is the same in all lanes. Two rounds are short: the first multiplies a counter and 0, the second what
// is left of the upper half and a vector.
template <class UpperOf>
SOFTDIFF_INLINE void philox_of_products(const Vec<std::uint64_t>* product, UpperOf upper_of, const PhiloxKeys& keys,
                                        PhiloxState<Vec<std::uint64_t>>* state) {
    using U = Vec<std::uint64_t>;
    SOFTDIFF_UNROLL
    for (int i = 0; i < 2 * kPhiloxGroups; ++i) {
        const std::uint64_t upper = upper_of(i) ^ keys.key0[0];
        const std::uint64_t second = static_cast<std::uint64_t>(static_cast<std::uint32_t>(upper)) * kPhiloxMultiplier0;
        const U a = product[i], b = detail::multiply_words((a >> 32) ^ keys.key1[0], kPhiloxMultiplier1);
        state[i] = {{(b >> 32) ^ keys.key0[1], b, a ^ ((second >> 32) ^ keys.key1[1]), U{} + second}};
    }
    SOFTDIFF_UNROLL
    for (int round = 2; round < kPhiloxRounds; ++round)
        for (int i = 0; i < 2 * kPhiloxGroups; ++i)
            state[i] = philox_round(state[i], keys.key0[round], keys.key1[round], detail::multiply_words);
}

// Group g: the counters from counter + g kLanes<float> on, those of a group within one block.
SOFTDIFF_INLINE void philox_vectors(std::uint64_t counter, const PhiloxKeys& keys, PhiloxVectors* out) {
    using U = Vec<std::uint64_t>;
    constexpr auto kHalf = std::make_integer_sequence<int, kLanes<std::uint64_t>>{};
    const auto first = [&](int i) { return counter + static_cast<std::uint64_t>(i / 2 * kLanes<float>); };
    U product[2 * kPhiloxGroups];  // of each group: even counters, odd counters. Products of counters in a row are sums.
    SOFTDIFF_UNROLL
    for (int i = 0; i < 2 * kPhiloxGroups; ++i)
        product[i] = detail::even_lanes(kHalf) * kPhiloxMultiplier0 +
                     (static_cast<std::uint64_t>(static_cast<std::uint32_t>(first(i))) + static_cast<std::uint64_t>(i % 2)) *
                         kPhiloxMultiplier0;
    PhiloxState<U> half[2 * kPhiloxGroups];
    philox_of_products(product, [&](int i) { return first(i) >> 32; }, keys, half);
    SOFTDIFF_UNROLL
    for (int g = 0; g < kPhiloxGroups; ++g)
        for (int k = 0; k < 4; ++k)
            out[g].word[k] = detail::interleave_words(half[2 * g].word[k], half[2 * g + 1].word[k],
                                                      std::make_integer_sequence<int, kLanes<float>>{});
}

namespace detail {

// All words first, then all radii, then all numbers: three loops of short chains of operations. One loop over long chains waits
// for them, a tenth more time.
constexpr int kNormalBatch = 16;

// Blocks block .. block + count - 1, count <= kNormalBatch; block b is elements 64 b .. 64 b + 63.
template <class T>
inline void normal_batch(std::int64_t block, std::int64_t count, const PhiloxKeys& keys, T* out) {
    constexpr int kGroup = kLanes<std::uint32_t>, L = kLanes<T>;
    alignas(kVectorBytes) std::uint32_t words[(kNormalBatch + kPhiloxGroups - 1) * kNormalBlock];  // laid out like the numbers
    // Groups in a row, which may reach beyond the last block.
    for (std::int64_t counter = 0; counter < count * kNormalLanes; counter += kPhiloxGroups * kGroup) {
        PhiloxVectors groups[kPhiloxGroups];
        philox_vectors(static_cast<std::uint64_t>(block * kNormalLanes + counter), keys, groups);
        SOFTDIFF_UNROLL
        for (int g = 0; g < kPhiloxGroups; ++g) {
            const std::int64_t at = counter + g * kGroup, b = at / kNormalLanes, lane = at % kNormalLanes;
            SOFTDIFF_UNROLL
            for (int k = 0; k < 4; ++k) store(words + b * kNormalBlock + k * kNormalLanes + lane, groups[g].word[k]);
        }
    }
    const auto each_pair = [&](auto make) {
        for (std::int64_t pair = 0; pair < count * kNormalBlock; pair += 2 * kNormalLanes) {
            SOFTDIFF_UNROLL
            for (int lane = 0; lane < kNormalLanes; lane += L) make(words + pair + lane, out + pair + lane);
        }
    };
    each_pair([](const std::uint32_t* word, T* radius) { store(radius, box_muller_radius<Vec<T>>(load_words<T>(word))); });
    each_pair([](const std::uint32_t* word, T* number) {
        const auto numbers = box_muller_turn<Vec<T>>(load(number), load_words<T>(word + kNormalLanes));
        store(number, numbers.first);
        store(number + kNormalLanes, numbers.second);
    });
}

}  // namespace detail

// Room that normal_run needs beyond `count`.
constexpr int kNormalSlack = 2 * kNormalBlock;

// Elements first .. first + count - 1; returned pointer is into `buffer` [count + kNormalSlack].
template <class T>
inline const T* normal_run(std::int64_t first, std::int64_t count, std::uint64_t seed, T* buffer) {
    const PhiloxKeys keys = philox_keys(seed);
    const std::int64_t block = first / kNormalBlock, last = (first + count + kNormalBlock - 1) / kNormalBlock;
    for (std::int64_t b = block; b < last; b += detail::kNormalBatch)
        detail::normal_batch(b, std::min<std::int64_t>(detail::kNormalBatch, last - b), keys,
                             buffer + (b - block) * kNormalBlock);
    return buffer + (first - block * kNormalBlock);
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

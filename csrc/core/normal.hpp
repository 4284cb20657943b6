// Counter-based standard normal numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and
// Box-Muller. Element 64 b + 16 k + l of a tensor is word k of counter 16 b + l, so 16 neighbouring lanes or CUDA threads make
// 64 neighbouring numbers, whatever the thread count. Everything is branch-free so that compilers vectorise loops over
// counters.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "config.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr int kNormalLanes = 16;
constexpr int kNormalBlock = 4 * kNormalLanes;

struct PhiloxWords {
    std::uint32_t word[4];
};

// The words live in 64-bit variables whose upper halves are left dirty: the multiplications need 64 bits anyway, and a
// vectorised loop over counters then has no lanes to move between widths.
SOFTDIFF_INLINE PhiloxWords philox(std::uint64_t counter, std::uint64_t seed) {
    constexpr std::uint32_t kMultiplier0 = 0xD2511F53U, kMultiplier1 = 0xCD9E8D57U;
    constexpr std::uint32_t kWeyl0 = 0x9E3779B9U, kWeyl1 = 0xBB67AE85U;
    std::uint64_t c0 = counter, c1 = counter >> 32, c2 = 0, c3 = 0;
    auto key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
    SOFTDIFF_UNROLL
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = static_cast<std::uint64_t>(static_cast<std::uint32_t>(c0)) * kMultiplier0;
        const std::uint64_t b = static_cast<std::uint64_t>(static_cast<std::uint32_t>(c2)) * kMultiplier1;
        c0 = (b >> 32) ^ c1 ^ key0;
        c1 = b;
        c2 = (a >> 32) ^ c3 ^ key1;
        c3 = a;
        key0 += kWeyl0;
        key1 += kWeyl1;
    }
    return {{static_cast<std::uint32_t>(c0), static_cast<std::uint32_t>(c1), static_cast<std::uint32_t>(c2),
             static_cast<std::uint32_t>(c3)}};
}

// word + 1/2 in float32. By halves, because most instruction sets convert signed integers only.
SOFTDIFF_INLINE float to_float(std::uint32_t word) {
    return static_cast<float>(static_cast<std::int32_t>(word >> 16)) * 65536.0F +
           (static_cast<float>(static_cast<std::int32_t>(word & 0xFFFFU)) + 0.5F);
}

// -log((word + 1/2) 2^-32) in float32, accurate for numbers near 1 too, where log is small.
SOFTDIFF_INLINE float negative_log_uniform(std::uint32_t word) {
    constexpr float kTwoToMinus32 = 2.3283064365386963e-10F, kLn2 = 0.693147180559945F;
    const float uniform = to_float(word) * kTwoToMinus32;
    const float complement = to_float(~word) * kTwoToMinus32;
    // u = m 2^e with m in [2/3, 4/3); log u = e ln 2 + log1p(m - 1).
    std::uint32_t bits;
    std::memcpy(&bits, &uniform, sizeof bits);
    const std::uint32_t shifted = bits - 0x3F2AAAABU;
    const std::int32_t exponent = static_cast<std::int32_t>(shifted) >> 23;
    const std::uint32_t mantissa_bits = (shifted & 0x007FFFFFU) + 0x3F2AAAABU;
    float mantissa;
    std::memcpy(&mantissa, &mantissa_bits, sizeof mantissa);
    const bool near_one = complement < 0.25F;
    const float f = near_one ? -complement : mantissa - 1.0F;
    const float e = near_one ? 0.0F : static_cast<float>(exponent);
    // log1p(f) on [-1/3, 1/3] by the atanh series: log1p(f) = 2 atanh(g), g = f / (2 + f), |g| <= 1/5.
    const float g = f / (2.0F + f);
    const float g2 = g * g;
    const float series =
        g * (2.0F + g2 * (0.6666666667F + g2 * (0.4F + g2 * (0.2857142857F + g2 * (0.2222222222F + g2 * 0.1818181818F)))));
    return -(e * kLn2 + series);
}

struct SineCosine {
    float sine, cosine;
};

// sin and cos of 2 pi (word + 1/2) 2^-32: the two top bits are the quadrant, the rest an angle in [-pi/4, pi/4].
SOFTDIFF_INLINE SineCosine sine_cosine_turn(std::uint32_t word) {
    constexpr float kQuarterTurn = 1.5707963267948966F * 9.313225746154785e-10F;  // (pi / 2) 2^-30
    const std::uint32_t rounded = word + 0x20000000U;                             // quadrants centred on the axes
    const std::uint32_t quadrant = rounded >> 30;
    const std::int32_t offset = static_cast<std::int32_t>(rounded & 0x3FFFFFFFU) - 0x20000000;
    const float x = (static_cast<float>(offset) + 0.5F) * kQuarterTurn;
    const float x2 = x * x;
    const float sine = x * (1.0F + x2 * (-0.16666667F + x2 * (8.3333333e-3F + x2 * (-1.98412698e-4F + x2 * 2.7557319e-6F))));
    const float cosine =
        1.0F + x2 * (-0.5F + x2 * (4.16666667e-2F + x2 * (-1.38888889e-3F + x2 * (2.4801587e-5F - x2 * 2.7557319e-7F))));
    const bool swap = (quadrant & 1U) != 0U;
    const float a = swap ? cosine : sine;
    const float b = swap ? sine : cosine;
    return {(quadrant & 2U) != 0U ? -a : a, ((quadrant + 1U) & 2U) != 0U ? -b : b};
}

template <class T>
struct NormalPair {
    T first, second;
};

// Box-Muller: two normal numbers from two words.
template <class T>
SOFTDIFF_INLINE NormalPair<T> box_muller(std::uint32_t radius_word, std::uint32_t angle_word) {
    if constexpr (sizeof(T) == sizeof(float)) {
        const float radius = sqrtf(2.0F * negative_log_uniform(radius_word));
        const SineCosine turn = sine_cosine_turn(angle_word);
        return {radius * turn.cosine, radius * turn.sine};
    } else {
        constexpr double kTwoToMinus32 = 2.3283064365386963e-10, kTwoPi = 6.283185307179586;
        const double radius = sqrt(-2.0 * log((radius_word + 0.5) * kTwoToMinus32));
        const double angle = kTwoPi * ((angle_word + 0.5) * kTwoToMinus32);
        return {radius * cos(angle), radius * sin(angle)};
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

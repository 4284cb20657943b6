// Counter-based standard normal numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and
// Box-Muller. Element 64 b + 16 k + l of a tensor is word k of counter 16 b + l, so 16 neighbouring lanes or CUDA threads make
// 64 neighbouring numbers, whatever the thread count. Words 0, 1 and words 2, 3 are the two pairs (radius, angle) of
// Box-Muller, cosine first.
//
// Branch-free, no division in float32, no library call but sqrt, and written for any type `F` of floating-point numbers:
// float or double in a CUDA thread, a vector of them on the CPU. Lanes<F> names what F needs.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "config.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr int kNormalLanes = 16;
constexpr int kNormalBlock = 4 * kNormalLanes;

constexpr int kPhiloxRounds = 10;
constexpr std::uint32_t kPhiloxMultiplier0 = 0xD2511F53U, kPhiloxMultiplier1 = 0xCD9E8D57U;
constexpr std::uint32_t kPhiloxWeyl0 = 0x9E3779B9U, kPhiloxWeyl1 = 0xBB67AE85U;  // what a round adds to the key

// The key of each round.
struct PhiloxKeys {
    std::uint64_t key0[kPhiloxRounds], key1[kPhiloxRounds];
};

SOFTDIFF_INLINE PhiloxKeys philox_keys(std::uint64_t seed) {
    PhiloxKeys keys{};
    SOFTDIFF_UNROLL
    for (int round = 0; round < kPhiloxRounds; ++round) {
        const auto step = static_cast<std::uint32_t>(round);
        keys.key0[round] = static_cast<std::uint32_t>(seed) + step * kPhiloxWeyl0;
        keys.key1[round] = static_cast<std::uint32_t>(seed >> 32) + step * kPhiloxWeyl1;
    }
    return keys;
}

// U: a vector of std::uint64_t. Only the lower halves are Philox's words; the upper halves are left dirty, which saves
// masking and, in vectors, moving lanes between widths.
template <class U>
struct PhiloxState {
    U word[4];
};

// multiply(U, std::uint32_t): the 64-bit product of the lower half and a word.
template <class U, class Multiply>
SOFTDIFF_INLINE PhiloxState<U> philox_round(const PhiloxState<U>& state, std::uint64_t key0, std::uint64_t key1,
                                            Multiply multiply) {
    const U a = multiply(state.word[0], kPhiloxMultiplier0), b = multiply(state.word[2], kPhiloxMultiplier1);
    return {{(b >> 32) ^ state.word[1] ^ key0, b, (a >> 32) ^ state.word[3] ^ key1, a}};
}

struct PhiloxWords {
    std::uint32_t word[4];
};

struct Product {
    std::uint32_t low, high;
};
// Of 64 bits. nvcc does not see that one instruction makes both halves: it adds a 0 to each upper one, or takes two.
SOFTDIFF_INLINE Product product(std::uint32_t a, std::uint32_t b) {
    Product halves;
#if defined(__CUDA_ARCH__)
    asm("{ .reg .u64 both; mul.wide.u32 both, %2, %3; mov.b64 {%0, %1}, both; }"
        : "=r"(halves.low), "=r"(halves.high)
        : "r"(a), "r"(b));
#else
    const std::uint64_t both = std::uint64_t{a} * b;
    halves = {static_cast<std::uint32_t>(both), static_cast<std::uint32_t>(both >> 32)};
#endif
    return halves;
}

// The four words of a counter.
SOFTDIFF_INLINE PhiloxWords philox(std::uint64_t counter, std::uint64_t seed) {
    std::uint32_t word[4] = {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), 0, 0};
    auto key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
    SOFTDIFF_UNROLL
    for (int round = 0; round < kPhiloxRounds; ++round) {
        const Product a = product(word[0], kPhiloxMultiplier0), b = product(word[2], kPhiloxMultiplier1);
        word[0] = b.high ^ word[1] ^ key0;
        word[1] = b.low;
        word[2] = a.high ^ word[3] ^ key1;
        word[3] = a.low;
        key0 += kPhiloxWeyl0;
        key1 += kPhiloxWeyl1;
    }
    return {{word[0], word[1], word[2], word[3]}};
}

template <class F>
struct Lanes;

// floor(log2 x) of the bits of a positive float x.
template <class Signed>
SOFTDIFF_INLINE Signed exponent_of_bits(Signed bits) {
    return (bits >> 23) - 127;
}

template <>
struct Lanes<float> {
    using Scalar = float;
    using Unsigned = std::uint32_t;  // a word
    using Signed = std::int32_t;
    static SOFTDIFF_INLINE float convert(Signed value) { return static_cast<float>(value); }
    static SOFTDIFF_INLINE float exponent(Unsigned bits) { return convert(exponent_of_bits(static_cast<Signed>(bits))); }
    static SOFTDIFF_INLINE float root(float value) { return sqrtf(value); }
};

template <>
struct Lanes<double> {
    using Scalar = double;
    using Unsigned = std::uint64_t;  // a word, upper half 0
    using Signed = std::int64_t;
    static SOFTDIFF_INLINE double root(double value) { return sqrt(value); }
};

namespace detail {

template <class To, class From>
SOFTDIFF_INLINE To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

// first + x (second + x (...)).
template <class F, class Scalar>
SOFTDIFF_INLINE F polynomial(F x, Scalar first, Scalar second) {
    return x * second + first;
}
template <class F, class Scalar, class... Rest>
SOFTDIFF_INLINE F polynomial(F x, Scalar first, Scalar second, Rest... rest) {
    return x * polynomial(x, second, rest...) + first;
}

// An integer below 2^52, plus 2^52, as double.
template <class F>
SOFTDIFF_INLINE F plus_two_to_52(typename Lanes<F>::Unsigned value) {
    return bit_cast<F>(value | 0x4330000000000000U);
}
constexpr double kTwoTo52 = 4503599627370496.0;

template <class I>
SOFTDIFF_INLINE I smaller(I a, I b) {
    return a < b ? a : b;
}

// What follows are the minimax polynomials of the intervals used (Remez exchange; relative error of the logarithms, absolute of
// sine and cosine); "error" is theirs, before rounding.

// -2 log u, u = (word + 1/2) 2^-32, in float32: accurate near u = 1 too, where it is small. u = m 2^e with m in [1/2, 1] and
// e <= 0; f = m - 1.
template <class F>
SOFTDIFF_INLINE F minus_two_log_float(typename Lanes<F>::Unsigned word) {
    using L = Lanes<F>;
    using Signed = typename L::Signed;
    using Unsigned = typename L::Unsigned;
    constexpr float kTwoToMinus32 = 2.3283064365386963e-10F, kMinusTwoLn2 = -1.3862943611198906F;
    constexpr std::uint32_t kHalf = 0x3F000000;  // the bits of 1/2
    // u, or u - 1 where the top bit of the word is set: that is negative, has all its digits near 0, and is f itself.
    const F t = L::convert(bit_cast<Signed>(word)) * kTwoToMinus32 + 0.5F * kTwoToMinus32;
    const Unsigned u = smaller(bit_cast<Unsigned>(t), Unsigned{} + kHalf);  // the bits of u, or of 1/2 in place of more
    const F m = bit_cast<F>((u & 0x007FFFFFU) | kHalf);
    // The smaller as an integer: t where it is negative, as negative floats are integers that rise with the distance from 0.
    const F f = bit_cast<F>(smaller(bit_cast<Signed>(t), bit_cast<Signed>(m - 1.0F)));
    const F minus_two_log_of_power = L::exponent(u) * kMinusTwoLn2 + kMinusTwoLn2;
    // -2 log(1 + f); error 2.4e-8. Its even and its odd powers, two short chains for a long one.
    const F f2 = f * f, even = polynomial(f2, -2.0F, -0.6672631502F, -0.5272734761F, -2.416502714F, -2.828591108F),
            odd = polynomial(f2, 0.9999904633F, 0.4873805940F, -0.3614821136F, -3.278112411F);
    return f * (f * odd + even) + minus_two_log_of_power;
}

// The same in double, where (word + 1/2) 2^-32 is exact.
template <class F>
SOFTDIFF_INLINE F minus_two_log_double(typename Lanes<F>::Unsigned word) {
    using Unsigned = typename Lanes<F>::Unsigned;
    constexpr double kMinusTwoLn2 = -1.3862943611198906;
    constexpr std::uint64_t kOne = 0x3FF0000000000000U, kTwoThirds = 0x3FE5555555555555U;
    const F scaled = plus_two_to_52<F>(word) - (kTwoTo52 - 0.5);  // 2^32 u = m 2^(e + 32)
    const Unsigned shifted = bit_cast<Unsigned>(scaled) + (kOne - kTwoThirds);
    const F e = plus_two_to_52<F>(shifted >> 52) - (kTwoTo52 + 1023 + 32);
    const F f = bit_cast<F>((shifted & 0x000FFFFFFFFFFFFFU) + kTwoThirds) - 1.0;
    // log(1 + f) = 2 atanh(g), g = f / (2 + f), |g| <= 1/5; error 1.5e-17.
    const F g = f / (f + 2.0), g2 = g * g;
    const F series = polynomial(g2, 0.6666666666667267945, 0.3999999999617690027, 0.285714293928276401, 0.22222138684689098731,
                                0.18186349182862306972, 0.15250315968258744788, 0.15367269631378728724);
    return e * kMinusTwoLn2 - (g * 2.0 + g * g2 * series) * 2.0;
}

template <class F>
constexpr bool kSingle = sizeof(typename Lanes<F>::Scalar) == sizeof(float);

// 2 pi (word + 1/2) 2^-32 as `quarters` of a turn, in [-1, 1], and half a turn more where the sign bit of `half` is set. Its
// other bits are anything.
template <class F>
struct Angle {
    F quarters;
    typename Lanes<F>::Unsigned half;
};

template <class F>
SOFTDIFF_INLINE Angle<F> angle(typename Lanes<F>::Unsigned word) {
    using L = Lanes<F>;
    const auto half = word + 0x40000000U;  // to the nearest half turn
    if constexpr (kSingle<F>) {
        constexpr float kUnit = 4.656612873077393e-10F;  // 2^-31
        return {L::convert(bit_cast<typename L::Signed>(word << 1)) * kUnit + kUnit, half};
    } else {
        constexpr double kUnit = 9.313225746154785e-10;  // 2^-30
        return {(plus_two_to_52<F>(half & 0x7FFFFFFFU) - (kTwoTo52 + 0x40000000)) * kUnit + 0.5 * kUnit, half << 32};
    }
}

// Of x quarter turns, |x| <= 1, as polynomials of x^2: the cosine, and the sine by x. Errors in float32 are 1.1e-9 and 7.6e-9,
// in double 5.8e-18 and 3.6e-18.
template <class F>
SOFTDIFF_INLINE F cosine_of_quarters(F x2) {
    if constexpr (kSingle<F>)
        return polynomial(x2, 1.0F, -1.233700514F, 0.2536690831F, -0.02086189948F, 0.0009167334647F, -2.340222090e-5F);
    else
        return polynomial(x2, 1.0, -1.2337005501361693049, 0.25366950790103148794, -0.020863480763174239302,
                          0.00091926027390409512877, -0.000025202039662445467703, 4.7108289635087532877e-7,
                          -6.3821061244369381608e-9, 6.3280174437969539188e-11);
}
template <class F>
SOFTDIFF_INLINE F sine_of_quarters_by_x(F x2) {
    if constexpr (kSingle<F>)
        return polynomial(x2, 1.570796251F, -0.6459627748F, 0.07968617976F, -0.004668948241F, 0.0001492847805F);
    else
        return polynomial(x2, 1.570796326794896558, -0.64596409750624328439, 0.079692626246124970146, -0.0046817541350499597072,
                          0.00016044118387071682006, -3.5988414387333102302e-6, 5.6919673781135723994e-8,
                          -6.67483462210854387e-10, 5.6494146238996527857e-12);
}

}  // namespace detail

// Box-Muller makes two normal numbers from two words: a radius from one, an angle from the other. No word makes an infinity or
// a NaN; the largest radius is 6.76.
template <class F>
SOFTDIFF_INLINE F box_muller_radius(typename Lanes<F>::Unsigned word) {
    if constexpr (detail::kSingle<F>)
        return Lanes<F>::root(detail::minus_two_log_float<F>(word));
    else
        return Lanes<F>::root(detail::minus_two_log_double<F>(word));
}

template <class F>
struct NormalPair {
    F first, second;
};

template <class F>
SOFTDIFF_INLINE NormalPair<F> box_muller_turn(F radius, typename Lanes<F>::Unsigned word) {
    using Unsigned = typename Lanes<F>::Unsigned;
    using Word = typename Lanes<typename Lanes<F>::Scalar>::Unsigned;
    constexpr Word kSign = Word{1} << (8 * sizeof(Word) - 1);
    const detail::Angle<F> angle = detail::angle<F>(word);
    const F x = angle.quarters, x2 = x * x;
    const F turned = detail::bit_cast<F>(detail::bit_cast<Unsigned>(radius) ^ (angle.half & kSign));
    return {turned * detail::cosine_of_quarters(x2), turned * x * detail::sine_of_quarters_by_x(x2)};
}

template <class F>
SOFTDIFF_INLINE NormalPair<F> box_muller(typename Lanes<F>::Unsigned radius_word, typename Lanes<F>::Unsigned angle_word) {
    return box_muller_turn(box_muller_radius<F>(radius_word), angle_word);
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

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

template <>
struct Lanes<float> {
    using Scalar = float;
    using Unsigned = std::uint32_t;  // a word
    using Signed = std::int32_t;
    static SOFTDIFF_INLINE float convert(Signed value) { return static_cast<float>(value); }
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

// What follows are the minimax polynomials of the intervals used (Remez exchange, relative error); "error" is theirs, before
// rounding.

// -2 log u, u = (word + 1/2) 2^-32, in float32: accurate near u = 1 too, where it is small.
template <class F>
SOFTDIFF_INLINE F minus_two_log_float(typename Lanes<F>::Unsigned word) {
    using L = Lanes<F>;
    using Signed = typename L::Signed;
    constexpr float kTwoToMinus32 = 2.3283064365386963e-10F, kMinusTwoLn2 = -1.3862943611198906F;
    // u = t + base: base is 1 where the top bit is set, so that t has all its digits near either end.
    const F t = L::convert(bit_cast<Signed>(word)) * kTwoToMinus32 + 0.5F * kTwoToMinus32;
    const F base = bit_cast<F>((bit_cast<Signed>(word) >> 31) & 0x3F800000);
    // u = m 2^e with m in [2/3, 4/3); f = m - 1.
    const Signed shifted = bit_cast<Signed>(t + base) - 0x3F2AAAAB;
    const F e = L::convert(shifted >> 23);
    const F scale = bit_cast<F>(0x3F800000 - (shifted & static_cast<std::int32_t>(0xFF800000U)));  // 2^-e
    const F f = t * scale + (base * scale - 1.0F);
    // -2 log(1 + f) = -2 f + f^2 q(f), |f| <= 1/3; error 2.6e-8.
    const F q = polynomial(f, 0.9999987216F, -0.6666639627F, 0.5001563778F, -0.4002233736F, 0.3283192160F, -0.2799161332F,
                           0.3077707935F, -0.2805272154F);
    return f * f * q + (e * kMinusTwoLn2 - (f + f));
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
struct SineCosine {
    F sine, cosine;
};

// sin and cos of (quadrant + x / (pi/2)) quarter turns from sin x and cos x. The quadrant is the two top bits of `quadrant`.
template <class F>
SOFTDIFF_INLINE SineCosine<F> turn_by_quadrant(F sine, F cosine, typename Lanes<F>::Unsigned quadrant) {
    using Unsigned = typename Lanes<F>::Unsigned;
    using Word = typename Lanes<typename Lanes<F>::Scalar>::Unsigned;
    constexpr int kTopBit = 8 * static_cast<int>(sizeof(Word)) - 1;
    constexpr Word kSign = Word{1} << kTopBit;
    const Unsigned odd = quadrant << 1;  // top bit: the two are swapped
    Unsigned a, b;
    if constexpr (sizeof(Word) == sizeof(float)) {
        const auto swap = bit_cast<typename Lanes<F>::Signed>(odd) < 0;
        a = bit_cast<Unsigned>(swap ? cosine : sine);
        b = bit_cast<Unsigned>(swap ? sine : cosine);
    } else {  // by bits: SSE2 has no 64-bit comparison, and GCC would branch
        const Unsigned difference = (bit_cast<Unsigned>(sine) ^ bit_cast<Unsigned>(cosine)) & (Word{0} - (odd >> kTopBit));
        a = bit_cast<Unsigned>(sine) ^ difference;
        b = bit_cast<Unsigned>(cosine) ^ difference;
    }
    return {bit_cast<F>(a ^ (quadrant & kSign)), bit_cast<F>(b ^ ((quadrant ^ odd) & kSign))};
}

// sin and cos of 2 pi (word + 1/2) 2^-32 in float32: the nearest quarter turn, and an angle x in [-pi/4, pi/4] from it.
template <class F>
SOFTDIFF_INLINE SineCosine<F> sine_cosine_float(typename Lanes<F>::Unsigned word) {
    using L = Lanes<F>;
    constexpr float kUnit = 1.5707963267948966F * 2.3283064365386963e-10F;  // (pi / 2) 2^-32
    const F x = L::convert(bit_cast<typename L::Signed>(word << 2)) * kUnit + 2.0F * kUnit;
    const F x2 = x * x;
    const F sine = x * x2 * polynomial(x2, -0.1666665461F, 0.008332160762F, -0.0001951528318F) + x;   // error 3.8e-9
    const F cosine = polynomial(x2, 1.0F, -0.5F, 0.04166664687F, -0.001388736752F, 2.443845159e-5F);  // error 9.5e-11
    return turn_by_quadrant(sine, cosine, word + 0x20000000U);
}

// The same in double.
template <class F>
SOFTDIFF_INLINE SineCosine<F> sine_cosine_double(typename Lanes<F>::Unsigned word) {
    constexpr double kUnit = 1.5707963267948966 * 9.313225746154785e-10;  // (pi / 2) 2^-30
    const auto rounded = word + 0x20000000U;
    const F x = (plus_two_to_52<F>(rounded & 0x3FFFFFFFU) - (kTwoTo52 + 0x20000000)) * kUnit + 0.5 * kUnit;
    const F x2 = x * x;
    const F sine = x * x2 *
                       polynomial(x2, -0.1666666666666663073, 0.0083333333333221186149, -0.00019841269829589556723,
                                  2.7557313621391247089e-6, -2.5050747763630582061e-8, 1.5896230198220564492e-10) +
                   x;  // error 3.6e-18
    const F cosine = polynomial(x2, 1.0, -0.5, 0.041666666666602257438, -0.0013888888878274374372, 0.00002480158097168753054,
                                -2.7555567133612594516e-7, 2.0647738025900394412e-9);  // error 7.7e-17
    return turn_by_quadrant(sine, cosine, rounded << 32);
}

}  // namespace detail

template <class F>
struct NormalPair {
    F first, second;
};

// Box-Muller: two normal numbers from two words. No word makes an infinity or a NaN; the largest radius is 6.76.
template <class F>
SOFTDIFF_INLINE NormalPair<F> box_muller(typename Lanes<F>::Unsigned radius_word, typename Lanes<F>::Unsigned angle_word) {
    if constexpr (sizeof(typename Lanes<F>::Scalar) == sizeof(float)) {
        const F radius = Lanes<F>::root(detail::minus_two_log_float<F>(radius_word));
        const detail::SineCosine<F> turn = detail::sine_cosine_float<F>(angle_word);
        return {radius * turn.cosine, radius * turn.sine};
    } else {
        const F radius = Lanes<F>::root(detail::minus_two_log_double<F>(radius_word));
        const detail::SineCosine<F> turn = detail::sine_cosine_double<F>(angle_word);
        return {radius * turn.cosine, radius * turn.sine};
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// The 16-bit storage types as bits, one number at a time: what a CUDA thread and the emulator convert. The CPU kernels convert
// vectors of them (cpu/simd.hpp).
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include "config.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

struct Float16Bits {
    std::uint16_t bits;
};
struct BFloat16Bits {
    std::uint16_t bits;
};

SOFTDIFF_INLINE float widen(float value) { return value; }
SOFTDIFF_INLINE double widen(double value) { return value; }

SOFTDIFF_INLINE float widen(BFloat16Bits value) {
    const std::uint32_t bits = static_cast<std::uint32_t>(value.bits) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}

SOFTDIFF_INLINE float widen(Float16Bits value) {
#if defined(__CUDA_ARCH__)
    return __half2float(__ushort_as_half(value.bits));
#else
    // exponent and mantissa moved to their places in float32, which is then off by a power of two; infinities and NaN apart
    const std::uint32_t sign = (value.bits & 0x8000U) << 16, rest = value.bits & 0x7FFFU;
    std::uint32_t bits = rest << 13;
    float wide;
    if (rest >= 0x7C00U) {
        bits |= 0x7F800000U;
        std::memcpy(&wide, &bits, sizeof wide);
    } else {
        std::memcpy(&wide, &bits, sizeof wide);
        wide *= 0x1p112F;
    }
    std::memcpy(&bits, &wide, sizeof bits);
    bits |= sign;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
#endif
}

// Round to nearest, ties to even; what is too large becomes infinite, a NaN stays one.
template <class Storage>
struct Narrow {
    static SOFTDIFF_INLINE Storage from(Storage value) { return value; }
};

template <>
struct Narrow<BFloat16Bits> {
    static SOFTDIFF_INLINE BFloat16Bits from(float value) {
#if defined(__CUDA_ARCH__)
        return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
#else
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
        return {static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16)};
#endif
    }
};

template <>
struct Narrow<Float16Bits> {
    static SOFTDIFF_INLINE Float16Bits from(float value) {
#if defined(__CUDA_ARCH__)
        return {__half_as_ushort(__float2half_rn(value))};
#else
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
        bits &= 0x7FFFFFFFU;
        if (bits > 0x7F800000U) return {static_cast<std::uint16_t>(sign | 0x7E00U)};
        if (bits >= 0x477FF000U) return {static_cast<std::uint16_t>(sign | 0x7C00U)};  // 65520 and more round to infinity
        std::uint32_t half;
        if (bits < 0x38800000U) {  // below 2^-14: subnormal; adding 0.5 rounds at the right digit
            float magnitude;
            std::memcpy(&magnitude, &bits, sizeof magnitude);
            magnitude += 0.5F;
            std::memcpy(&half, &magnitude, sizeof half);
            half -= 0x3F000000U;
        } else {
            half = (bits + 0xFFFU + ((bits >> 13) & 1U) - 0x38000000U) >> 13;
        }
        return {static_cast<std::uint16_t>(sign | half)};
#endif
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

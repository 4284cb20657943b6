// What the bindings ask of the CPU kernels: plain data, raw pointers, no torch, no Python. The same for every instruction set.
#pragma once

#include <cstdint>

#include "../core/step.hpp"

namespace softdiff {

enum class Dtype : int { kFloat64 = 0, kFloat32 = 1, kFloat16 = 2, kBFloat16 = 3 };

inline int element_bytes(Dtype dtype) { return dtype == Dtype::kFloat64 ? 8 : dtype == Dtype::kFloat32 ? 4 : 2; }

// A tensor broadcast to [B, C, H, W]; strides in elements, 0 where it is repeated. A null pointer means "absent".
struct Image {
    const void* data = nullptr;
    std::int64_t stride[4] = {0, 0, 0, 0};
};

// Levels, float64 [1 or B, 4] contiguous: log_a, tau, sigma, floor.
struct LevelArray {
    const double* data = nullptr;
    std::int64_t stride = 0;  // 0: one level for the batch; 4: one for each sample
    SOFTDIFF_INLINE Level at(std::int64_t sample) const {
        const double* p = data + sample * stride;
        return {p[0], p[1], p[2], p[3]};
    }
};

// Where the gains of the terms come from.
enum class GainKind : int {
    kLevel = 0,  // term 0: alpha_t^power, power 1 or 2; term 2: sigma_t, one number
    kStep = 1,   // terms 0, 1, 2: p, q, w of the step from t to s
    kMap = 2,    // terms 0, 1, 2: given maps
};

constexpr int kTerms = 3;

// out = V sum_i (gain_i . V^T image_i) over the terms that are present. A gain that is one number needs no transform of its
// image. Noise drawn here takes the place of term 2: in pixel space where its gain is one number, else directly in the DCT
// basis.
struct CombineTask {
    std::int64_t batch, channels, height, width;
    Dtype dtype;
    Image term[kTerms];
    bool draw_noise;
    std::uint64_t seed;
    GainKind kind;
    int power;
    LevelArray s, t;
    Rule rule;
    double parameter;
    Prediction prediction;
    Image map[kTerms];  // float64 or float32: the type the kernel computes in
    void* out;          // contiguous
    int threads;
};

// What of the last two dimensions is transformed.
enum class Axes : int { kBoth = 0, kRows = 1, kColumns = 2 };

// Orthonormal DCT-II (or its inverse).
struct TransformTask {
    std::int64_t batch, channels, height, width;
    Dtype dtype;
    Image input;
    bool inverse;
    Axes axes;
    void* out;
    int threads;
};

// out[b] = sum over c and f of (alpha_b[f] V^T (a - b)[b, c])[f]^2, in the type the kernel computes in.
struct EnergyTask {
    std::int64_t batch, channels, height, width;
    Dtype dtype;
    Image a, b;
    LevelArray level;
    void* out;
    int threads;
};

// out[b, c] = (V^T x)[b, c] (V^T y)[b, c], summed over the batch or the channels where told to (that dimension of `out` is then
// 1), in the type the kernel computes in and in natural frequency order.
struct CorrelationTask {
    std::int64_t batch, channels, height, width;
    Dtype dtype;
    Image x, y;
    bool sum_batch, sum_channels;
    void* out;
    int threads;
};

struct NormalTask {
    std::int64_t size;
    Dtype dtype;
    std::uint64_t seed;
    void* out;
    int threads;
};

// The p, q, w of a step as maps [1 or B, 3, H, W] in natural frequency order.
struct CoefficientTask {
    std::int64_t batch, height, width;
    Dtype dtype;
    LevelArray s, t;
    Rule rule;
    double parameter;
    Prediction prediction;
    void* out;
};

// The kernels of one instruction set, each for float and for double arithmetic (index `wide`).
struct Kernels {
    const char* isa;
    void (*combine[2])(const CombineTask&);
    void (*transform[2])(const TransformTask&);
    void (*energy[2])(const EnergyTask&);
    void (*correlation[2])(const CorrelationTask&);
    void (*normal[2])(const NormalTask&);
    void (*coefficients[2])(const CoefficientTask&);
};

inline int wide(Dtype dtype) { return dtype == Dtype::kFloat64 ? 1 : 0; }

}  // namespace softdiff

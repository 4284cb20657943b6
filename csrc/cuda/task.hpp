// What the bindings ask of the CUDA kernels: plain data that a kernel takes by value. Pointers are device pointers. No CUDA
// header here: the bindings and the emulator are compiled by g++.
#pragma once

#include <cstdint>

#include "../cpu/task.hpp"

namespace softdiff::cuda {

// One field of a level: a number, or float64 or float32 numbers on the device, one for the batch (stride 0) or one a sample.
struct LevelField {
    double number = 0.0;
    const void* data = nullptr;
    std::int64_t stride = 0;  // in elements
    bool is_float32 = false;
};

// Fields in the order of Level: log_a, tau, sigma, floor.
struct LevelFields {
    LevelField field[4];
};

// Where drawn noise comes from: a number, or an int64 on the device (read when the kernel runs, so that replays of a CUDA graph
// draw fresh noise).
struct Seed {
    std::uint64_t number = 0;
    const std::int64_t* data = nullptr;
};

// As CombineTask of the CPU (cpu/task.hpp).
struct Combine {
    std::int64_t batch, channels, height, width;
    Dtype dtype;
    Image term[kTerms];
    bool draw_noise;
    Seed seed;
    GainKind kind;
    int power;
    LevelFields s, t;
    Rule rule;
    double parameter;
    Prediction prediction;
    Image map[kTerms];  // in the type of the arithmetic
    void* out;          // contiguous
};

struct Transform {
    std::int64_t batch, channels, height, width;
    Dtype dtype;
    Image input;
    bool inverse;
    bool rows_only;
    void* out;
};

struct Energy {
    std::int64_t batch, channels, height, width;
    Dtype dtype;
    Image a, b;
    LevelFields level;
    void* out;  // [batch] in the type of the arithmetic
};

struct Normal {
    std::int64_t size;
    Dtype dtype;
    Seed seed;
    void* out;
};

struct Coefficients {
    std::int64_t batch, height, width;
    Dtype dtype;
    LevelFields s, t;
    Rule rule;
    double parameter;
    Prediction prediction;
    void* out;
};

// Device memory for the time of one call, from torch's allocator; and what stays for the life of the process (tables of a
// length).
class Memory {
  public:
    virtual ~Memory() = default;
    virtual void* workspace(std::int64_t bytes) = 0;
    // The device copy of a table that is the same for ever; `key` names it (kind, length, type).
    virtual const void* table(std::uint64_t key, const void* host, std::int64_t bytes) = 0;
};

// Where a call runs. The kernels are put on the stream, nothing waits.
struct Place {
    int device;
    void* stream;  // cudaStream_t
    Memory* memory;
};

// Throw std::runtime_error where the launch fails or the device is of an architecture that was not compiled.
void combine(const Combine& task, const Place& place);
void transform(const Transform& task, const Place& place);
void energy(const Energy& task, const Place& place);
void normal(const Normal& task, const Place& place);
void coefficients(const Coefficients& task, const Place& place);

}  // namespace softdiff::cuda

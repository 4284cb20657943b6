// What a call on a CUDA device needs beside its images: levels and seeds that stay on the device, memory from torch, its
// stream. Nothing here waits for the device, so values inside tensors of levels are not looked at.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "../cuda/task.hpp"
#include "images.hpp"
#include "levels.hpp"

namespace softdiff::device {

// A level as Python passes it (levels.hpp, LevelArgument), its tensors left where they are: a field is a number, or a tensor of
// 32 or 64 bits on the device, 0-d or [B]; a 0-d tensor of the CPU counts as a number.
class DeviceLevel {
  public:
    DeviceLevel(const Call& call, pybind11::handle level, std::int64_t batch, int device);

    const cuda::LevelFields& fields() const { return fields_; }
    // The level where all its fields are numbers, for the checks of levels.hpp: valid while this object stays where it is.
    bool numbers() const { return !any_tensor_; }
    LevelArray array() const;
    // What an autograd graph may keep: the numbers, or one tensor [1 or B, 4] of its own.
    pybind11::object kept(const Call& call) const;

  private:
    cuda::LevelFields fields_;
    std::array<double, 4> number_{};
    std::array<pybind11::handle, 4> tensor_{};  // what a field is copied from; borrowed
    pybind11::handle given_;                    // the argument where it can be kept as it is
    std::int64_t count_ = 1;
    int device_;
    bool any_tensor_ = false;

    void read_field(const Call& call, PyObject* field, int i, std::int64_t batch);
    void read_packed(const Call& call, pybind11::handle packed, std::int64_t batch);
};

// The noise that a kernel draws: none (None), from a number, from an int64 tensor on the device, or in an eager call from a
// seed that is drawn when all is checked: from a generator of the device (draw_device_seed), or by a generator of the CPU,
// which gives the noise that it gives there.
class DeviceSeed {
  public:
    DeviceSeed(const Call& call, pybind11::handle argument, bool noise_given, int device);

    void draw();
    const pybind11::object& value() const { return value_; }
    bool none() const { return value_.is_none(); }
    cuda::Seed seed() const;

  private:
    enum class Source { kGiven, kHostGenerator, kDeviceGenerator };
    pybind11::object value_;
    int device_;
    Source source_ = Source::kGiven;
};

// An image of the call as the kernels take it: positions within a plane are 32-bit. `copies` keeps what had to be copied.
Image taken(const TensorView& view, std::vector<pybind11::object>& copies);

// Where a call runs, for as long as the object lives: torch's current stream on the device, and memory by torch's allocator.
class Running final : public cuda::Memory {
  public:
    explicit Running(int device);

    void* workspace(std::int64_t bytes) override;
    const void* table(std::uint64_t key, const void* host, std::int64_t bytes) override;

    // Puts the kernels of a task on the stream.
    template <class Task>
    void run(void (*kernels)(const Task&, const cuda::Place&), const Task& task) {
        const cuda::Place place{device_, stream_, this};
        const WithoutGil released;
        kernels(task, place);
    }

  private:
    int device_;
    void* stream_;
    std::vector<pybind11::object> workspaces_;  // given back in the order of the stream
};

}  // namespace softdiff::device

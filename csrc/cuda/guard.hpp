// The device of a call, and errors of the CUDA run time in words.
#pragma once

#include <cuda_runtime.h>

#include <string>

namespace softdiff {

// Makes a device the current one of this thread, and puts back the one that was.
class DeviceGuard {
  public:
    explicit DeviceGuard(int device);
    ~DeviceGuard();
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

  private:
    int before_ = 0;
    bool changed_ = false;
};

// "sm_XY", or "an unknown architecture".
std::string architecture_of(int device);

// Throws std::runtime_error that says what failed; where the card's architecture is not among those compiled, which one it is
// and which ones are.
void check_cuda(cudaError_t error, const char* what, int device);

}  // namespace softdiff

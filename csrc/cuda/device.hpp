// CUDA devices as the driver reports them, and the little that the bindings do on one themselves. No CUDA header here: callers
// are compiled by g++.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace softdiff {

// "name (sm_XY)" for each device; empty where there is no device or no driver.
std::vector<std::string> cuda_device_names();

// Whether a CUDA graph is being captured from a stream.
bool cuda_capturing(void* stream);

// Copies host memory to a device and waits for the end: what every stream may read from then on. Throws std::runtime_error.
void cuda_upload(void* to, const void* host, std::int64_t bytes, int device, void* stream);

}  // namespace softdiff

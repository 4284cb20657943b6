#include <cuda_runtime.h>

#include "device.hpp"

namespace softdiff {

std::vector<std::string> cuda_device_names() {
    std::vector<std::string> names;
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        cudaGetLastError();  // no driver is no error here: the CPU path works without one
        return names;
    }
    for (int device = 0; device < count; ++device) {
        cudaDeviceProp properties{};
        if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) continue;
        names.push_back(std::string(properties.name) + " (sm_" + std::to_string(properties.major) +
                        std::to_string(properties.minor) + ")");
    }
    return names;
}

}  // namespace softdiff

#include "guard.hpp"

#include <stdexcept>

namespace softdiff {

DeviceGuard::DeviceGuard(int device) {
    check_cuda(cudaGetDevice(&before_), "current device", device);
    if (before_ == device) return;
    check_cuda(cudaSetDevice(device), "choice of the device", device);
    changed_ = true;
}

DeviceGuard::~DeviceGuard() {
    if (changed_) cudaSetDevice(before_);
}

std::string architecture_of(int device) {
    int major = 0, minor = 0;
    const bool known = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
                       cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess;
    return known ? "sm_" + std::to_string(major) + std::to_string(minor) : "an unknown architecture";
}

void check_cuda(cudaError_t error, const char* what, int device) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // told here: it must not come up again in whoever asks next
    const bool not_compiled = error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
                              error == cudaErrorUnsupportedPtxVersion || error == cudaErrorInvalidPtx;
    const std::string message = std::string("softdiff_ext: CUDA, ") + what + ": " + cudaGetErrorString(error);
    if (!not_compiled) throw std::runtime_error(message);
    cudaDeviceProp properties{};
    const bool named = cudaGetDeviceProperties(&properties, device) == cudaSuccess;
    throw std::runtime_error(message + ". The device, " + (named ? std::string(properties.name) : "unnamed") + ", is " +
                             architecture_of(device) +
                             "; the kernels were built for " SOFTDIFF_CUDA_ARCHITECTURES
                             ". Build the package on this machine with CMAKE_ARGS=-DCMAKE_CUDA_ARCHITECTURES=native");
}

}  // namespace softdiff

#include "device.hpp"

#include "guard.hpp"

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
        names.push_back(std::string(properties.name) + " (" + architecture_of(device) + ")");
    }
    return names;
}

bool cuda_capturing(void* stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    const cudaError_t error = cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status);
    if (error != cudaSuccess) cudaGetLastError();  // the default stream, while another one is being captured
    return error != cudaSuccess || status != cudaStreamCaptureStatusNone;
}

void cuda_upload(void* to, const void* host, std::int64_t bytes, int device, void* stream) {
    const DeviceGuard guard(device);
    const auto on = static_cast<cudaStream_t>(stream);
    check_cuda(cudaMemcpyAsync(to, host, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice, on), "table upload", device);
    check_cuda(cudaStreamSynchronize(on), "table upload", device);
}

}  // namespace softdiff

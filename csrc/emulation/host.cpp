// What the bindings need of a device and of the CPU, for the tests' module: its device is emulated, and it has no CPU kernels.
#include <algorithm>
#include <stdexcept>

#include "../cpu/dispatch.hpp"
#include "../cuda/device.hpp"

namespace softdiff {

std::vector<std::string> cuda_device_names() { return {"emulated"}; }

bool cuda_capturing(void* /*stream*/) { return false; }

void cuda_upload(void* to, const void* host, std::int64_t bytes, int /*device*/, void* /*stream*/) {
    std::copy_n(static_cast<const unsigned char*>(host), bytes, static_cast<unsigned char*>(to));
}

const Kernels& active_kernels() { throw std::logic_error("the emulated module has no CPU kernels"); }

std::vector<std::string> available_isas() { return {}; }

void select_isa(const std::string& name) { throw std::invalid_argument("no instruction sets here, got " + name); }

}  // namespace softdiff

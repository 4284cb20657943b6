// The part of DLPack's exchange interface (version 1) by which a framework shows a tensor to others without making an object:
// plain C structures, laid out as https://github.com/dmlc/dlpack says. torch has it from 2.10 on.
#pragma once

#include <cstdint>

namespace softdiff::dlpack {

constexpr std::uint32_t kMajorVersion = 1;
constexpr const char* kTypeAttribute = "__dlpack_c_exchange_api__";  // of the tensor type: a capsule ...
constexpr const char* kCapsuleName = "dlpack_exchange_api";          // ... of this name, with an ExchangeApi for ever

constexpr std::int32_t kCpu = 1, kCuda = 2;
constexpr std::uint8_t kFloat = 2, kBFloat = 4;

struct Tensor {
    void* data;
    std::int32_t device_type, device_id;
    std::int32_t rank;
    std::uint8_t type_code, type_bits;
    std::uint16_t type_lanes;
    const std::int64_t *shape, *strides;
    std::uint64_t byte_offset;
};

struct ExchangeApi {
    std::uint32_t major, minor;
    void* previous;
    void (*allocate)();
    void (*managed_from_object)();
    void (*object_from_managed)();
    // 0, or -1 with a Python error set. What `out` points to lives as long as the object is not changed.
    int (*tensor_from_object)(void* object, Tensor* out);
    // The stream that the framework's own kernels go to now, on a device of a type. 0, or -1 with a Python error set.
    int (*current_work_stream)(std::int32_t device_type, std::int32_t device_id, void** out);
};

}  // namespace softdiff::dlpack

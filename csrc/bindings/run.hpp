// The call of a kernel of the CPU.
#pragma once

#include <cstdint>

#include "../cpu/dispatch.hpp"
#include "tensor.hpp"

namespace softdiff {

// Runs a kernel of the CPU on `elements` numbers. Letting go of the GIL and taking it again costs more than a small image.
template <class Task>
void run(void (*const kernels[2])(const Task&), const Task& task, std::int64_t elements) {
    constexpr std::int64_t kBrief = 4096;
    if (elements <= kBrief) return kernels[wide(task.dtype)](task);
    const WithoutGil released;
    kernels[wide(task.dtype)](task);
}

}  // namespace softdiff

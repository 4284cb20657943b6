// Puts kernels (launch.hpp) on a CUDA stream.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "guard.hpp"
#include "launch.hpp"
#include "space.hpp"
#include "task.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Phases I .. phases - 1 one after the other. Not a loop to be unrolled: where a phase is long the compiler leaves it one, and
// works out each time where a thread is.
template <class Kernel, int I>
__device__ __forceinline__ void phases_from(int phases, const typename Kernel::Params& params, const Where& where,
                                            Device::Shared shared) {
    if constexpr (I < Kernel::kMostPhases) {
        if (I >= phases) return;  // all threads do
        if constexpr (I > 0) __syncthreads();
        Kernel::template phase<Device>(I, params, where, shared);
        phases_from<Kernel, I + 1>(phases, params, where, shared);
    }
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kMaxThreads, Kernel::kMinBlocks)
    run_phases(const __grid_constant__ typename Kernel::Params params, std::int64_t first_block) {
    const Where where{first_block + blockIdx.x, static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
    const Device::Shared shared;
    const int phases = Kernel::phases(params);
    if constexpr (Kernel::kMostPhases > 0) {
        phases_from<Kernel, 0>(phases, params, where, shared);
    } else {
        SOFTDIFF_ROLLED
        for (int i = 0; i < phases; ++i) {
            if (i > 0) __syncthreads();
            Kernel::template phase<Device>(i, params, forgotten(where), shared);
        }
    }
}

class CudaLauncher {
  public:
    explicit CudaLauncher(const cuda::Place& place) : place_(place), guard_(place.device) {}

    // Of tensors between the passes of large planes. Chunks that stay in the L2 cache were slower: on an H100, 768 planes of
    // 256 x 256 took 870 us by 25 MB, 660 by 100 and 620 by 400. Each launch begins with code that no cache holds, and ends
    // with multiprocessors that have nothing left to do.
    std::int64_t most_scratch_bytes() const { return std::int64_t{256} << 20; }
    void* workspace(std::int64_t bytes) { return place_.memory->workspace(bytes); }
    const void* table(std::uint64_t key, const void* host, std::int64_t bytes) {
        return place_.memory->table(key, host, bytes);
    }

    template <class Kernel>
    void run(const LaunchShape& shape, const typename Kernel::Params& params);

  private:
    const cuda::Place& place_;
    DeviceGuard guard_;

    // More than 48 KB a block must be asked for, once a kernel and device.
    template <class Kernel>
    void allow_shared(int bytes) {
        constexpr int kGranted = 48 * 1024;
        static std::atomic<std::uint64_t> asked{0};  // a bit a device
        const std::uint64_t bit = std::uint64_t{1} << (place_.device & 63);
        if (bytes <= kGranted || (asked.load() & bit)) return;
        check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(&run_phases<Kernel>),
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, kMaxSharedBytes),
                   Kernel::kName, place_.device);
        asked.fetch_or(bit);
    }
};

// Not inline: kernels.cu compiles some of these in one unit only.
template <class Kernel>
void CudaLauncher::run(const LaunchShape& shape, const typename Kernel::Params& params) {
    constexpr std::int64_t kMostBlocks = 0x7FFFFFFF;  // of a grid
    allow_shared<Kernel>(shape.shared_bytes);
    for (std::int64_t first = 0; first < shape.blocks; first += kMostBlocks) {
        const auto blocks = static_cast<unsigned>(std::min(kMostBlocks, shape.blocks - first));
        void* arguments[] = {const_cast<typename Kernel::Params*>(&params), &first};
        check_cuda(cudaLaunchKernel(reinterpret_cast<const void*>(&run_phases<Kernel>), dim3(blocks),
                                    dim3(static_cast<unsigned>(shape.threads)), arguments,
                                    static_cast<std::size_t>(shape.shared_bytes), static_cast<cudaStream_t>(place_.stream)),
                   Kernel::kName, place_.device);
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

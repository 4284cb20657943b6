// Runs kernels on the host, block after block, the threads of each phase in an order that is shuffled anew.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "../cuda/launch.hpp"
#include "checked.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

class EmulatedLauncher {
  public:
    EmulatedLauncher() : random_(emulation::Machine::instance().order_seed()) {}
    ~EmulatedLauncher() { emulation::Machine::instance().forget_regions(); }
    EmulatedLauncher(const EmulatedLauncher&) = delete;
    EmulatedLauncher& operator=(const EmulatedLauncher&) = delete;

    std::int64_t most_scratch_bytes() const { return 1 << 20; }  // so that small batches are several chunks

    void* workspace(std::int64_t bytes) {
        if (emulation::Machine::instance().dry()) return this;  // anything: nobody looks
        auto& memory = memory_.emplace_back(new unsigned char[static_cast<std::size_t>(bytes)]);
        std::fill_n(memory.get(), bytes, static_cast<unsigned char>(0xFF));
        emulation::Machine::instance().add_region("workspace", memory.get(), bytes, emulation::Access::kReadWrite);
        return memory.get();
    }

    const void* table(std::uint64_t /*key*/, const void* host, std::int64_t bytes) {
        auto& memory = memory_.emplace_back(new unsigned char[static_cast<std::size_t>(bytes)]);
        std::copy_n(static_cast<const unsigned char*>(host), bytes, memory.get());
        emulation::Machine::instance().add_region("table", memory.get(), bytes, emulation::Access::kReadOnly);
        return memory.get();
    }

    template <class Kernel>
    void run(const LaunchShape& shape, const typename Kernel::Params& params) {
        if (shape.threads < 1 || shape.threads > Kernel::kMaxThreads || shape.shared_bytes > kMaxSharedBytes)
            throw std::logic_error(std::string(Kernel::kName) + ": the launch asks for " + std::to_string(shape.threads) +
                                   " threads and " + std::to_string(shape.shared_bytes) + " bytes of shared memory");
        if (Kernel::kMostPhases > 0 && Kernel::phases(params) > Kernel::kMostPhases)  // a GPU would leave the last ones out
            throw std::logic_error(std::string(Kernel::kName) + ": more phases than it says");
        auto& machine = emulation::Machine::instance();
        machine.begin_launch(Kernel::kName, shape.blocks, shape.threads, shape.shared_bytes, Kernel::phases(params) - 1);
        if (machine.dry()) return;
        std::vector<int> order(static_cast<std::size_t>(shape.threads));
        std::iota(order.begin(), order.end(), 0);
        for (std::int64_t block = 0; block < shape.blocks; ++block) {
            machine.begin_block(shape.shared_bytes);
            for (int phase = 0; phase < Kernel::phases(params); ++phase) {
                if (phase > 0) machine.barrier(phase - 1);
                std::shuffle(order.begin(), order.end(), random_);
                for (const int thread : order) {
                    machine.set_thread(thread);
                    Kernel::template phase<Checked>(phase, params, Where{block, thread, shape.threads},
                                                    machine.shared_memory());
                }
            }
        }
    }

  private:
    std::mt19937_64 random_;
    std::vector<std::unique_ptr<unsigned char[]>> memory_;
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

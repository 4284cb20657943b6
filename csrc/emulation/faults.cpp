#include "faults.hpp"

#include <array>
#include <map>
#include <stdexcept>

#include "launcher.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {
namespace {

constexpr int kThreads = 8, kBlocks = 2;

enum class Fault {
    kNone,
    kSharedRace,
    kGlobalRace,
    kBlockRace,
    kUninitialisedShared,
    kUninitialisedGlobal,
    kPastTheEnd,
    kBeforeTheStart,
    kWriteToInput,
    kUnwrittenOutput
};

// Each thread hands a number to its neighbour through shared memory: right, but for one fault.
struct Neighbours {
    struct Params {
        Fault fault;
        float *in, *out, *scratch;
    };
    static constexpr const char* kName = "fault";
    static constexpr int kMaxThreads = kThreads, kMinBlocks = 1;
    static constexpr int kMostPhases = 2;
    static int phases(const Params&) { return kMostPhases; }

    template <class Space>
    static void phase(int i, const Params& p, Where where, typename Space::Shared base) {
        auto shared = Space::template shared<float>(base, 0);
        auto in = Space::global(p.in), out = Space::global(p.out), scratch = Space::global(p.scratch);
        const std::int64_t own = where.block * kThreads + where.thread;
        const int next = (where.thread + 1) % kThreads;
        if (i == 0) {
            if (p.fault == Fault::kUninitialisedShared && where.thread == 3) return;
            shared[where.thread] = in[own];
            if (p.fault == Fault::kWriteToInput) in[own] = 0.0F;
            if (p.fault == Fault::kBlockRace) scratch[where.thread] = 1.0F;
            if (p.fault == Fault::kGlobalRace) scratch[where.block * kThreads] = 1.0F;
            return;
        }
        if (p.fault == Fault::kUnwrittenOutput && own == 5) return;
        float value = shared[next];
        if (p.fault == Fault::kSharedRace) shared[where.thread] = value;
        if (p.fault == Fault::kUninitialisedGlobal) value += scratch[own];
        if (p.fault == Fault::kPastTheEnd) value += in[own + 1];
        if (p.fault == Fault::kBeforeTheStart) value += in[own - 1];
        out[own] = value;
    }
};

}  // namespace
}  // namespace SOFTDIFF_ISA

void emulation::run_fault(const std::string& name) {
    const std::map<std::string, Fault> faults = {{"none", Fault::kNone},
                                                 {"shared race", Fault::kSharedRace},
                                                 {"global race", Fault::kGlobalRace},
                                                 {"block race", Fault::kBlockRace},
                                                 {"uninitialised shared", Fault::kUninitialisedShared},
                                                 {"uninitialised global", Fault::kUninitialisedGlobal},
                                                 {"past the end", Fault::kPastTheEnd},
                                                 {"before the start", Fault::kBeforeTheStart},
                                                 {"write to an input", Fault::kWriteToInput},
                                                 {"unwritten output", Fault::kUnwrittenOutput}};
    const auto found = faults.find(name);
    if (found == faults.end()) throw std::invalid_argument("no fault " + name);
    std::array<float, kThreads * kBlocks> in{}, out{}, scratch{};
    EmulatedLauncher launcher;
    Machine& machine = Machine::instance();
    machine.add_region("input", in.data(), sizeof in, Access::kReadOnly);
    machine.add_region("output", out.data(), sizeof out, Access::kReadWrite);
    machine.add_region("scratch", scratch.data(), sizeof scratch, Access::kReadWrite);
    launcher.run<Neighbours>({kBlocks, kThreads, kThreads * static_cast<int>(sizeof(float))},
                             {found->second, in.data(), out.data(), scratch.data()});
    machine.check_written(out.data());
}

}  // namespace softdiff

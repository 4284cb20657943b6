// Kernels that are wrong on purpose, one for each thing that the Machine watches: an emulator that sees nothing proves nothing.
#pragma once

#include <string>

namespace softdiff::emulation {

// name: "none", "shared race", "global race", "block race", "uninitialised shared", "uninitialised global", "past the end",
// "before the start", "write to an input" or "unwritten output". Throws std::invalid_argument for any other.
void run_fault(const std::string& name);

}  // namespace softdiff::emulation

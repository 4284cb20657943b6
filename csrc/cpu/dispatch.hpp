// Which instruction set's kernels run here.
#pragma once

#include <string>
#include <vector>

#include "task.hpp"

namespace softdiff {

// The widest instruction set that was compiled in and that this processor has, or the one that select_isa named.
const Kernels& active_kernels();

std::vector<std::string> available_isas();

// For tests and measurements. Throws std::invalid_argument for a name that is not available here.
void select_isa(const std::string& name);

}  // namespace softdiff

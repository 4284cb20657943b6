// CUDA devices as the driver reports them. No CUDA header here: callers are compiled by g++.
#pragma once

#include <string>
#include <vector>

namespace softdiff {

// "name (sm_XY)" for each device; empty where there is no device or no driver.
std::vector<std::string> cuda_device_names();

}  // namespace softdiff

// What was compiled in, and what is found on this machine.
#pragma once

#include <pybind11/pybind11.h>

namespace softdiff {

pybind11::dict build_info();

}  // namespace softdiff

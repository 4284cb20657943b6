// The functions that the tests' module has beside the operators: what the emulated device is told and what it reports.
#pragma once

#include <pybind11/pybind11.h>

namespace softdiff {

void define_emulator(pybind11::module_& m);
void define_plans(pybind11::module_& m);  // emulated_plans.cpp

}  // namespace softdiff

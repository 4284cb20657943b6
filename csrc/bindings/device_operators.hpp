// The operators of operators.hpp on a CUDA device. The call has been read as far as its images; what they throw and return is
// as there.
#pragma once

#include <pybind11/pybind11.h>

#include "images.hpp"

namespace softdiff::device {

pybind11::object level_filter(const Call& call, const Images& images, const pybind11::str& prefix, pybind11::handle x,
                              pybind11::handle noise, pybind11::handle seed, pybind11::handle level, int power);
pybind11::object step(const Call& call, const Images& images, const pybind11::str& name, pybind11::handle output,
                      pybind11::handle z_t, pybind11::handle noise, pybind11::handle seed, pybind11::handle s,
                      pybind11::handle t, int rule, double parameter, pybind11::handle prediction);
pybind11::object filter_sum(const Call& call, const Images& images, const Handles& terms, const Handles& gains);
// `task` is that of the CPU, its output still to be made.
pybind11::object transform(const Call& call, const TensorView& view, const TransformTask& task, pybind11::handle ndim,
                           pybind11::handle x);
pybind11::object energy(const Call& call, const Images& images, pybind11::handle a, pybind11::handle b, pybind11::handle level);

// Into `out`; return None.
pybind11::object normal(const Call& call, const TensorView& out, pybind11::handle seed);
pybind11::object step_coefficients(const Call& call, const TensorView& out, const pybind11::str& name, pybind11::handle s,
                                   pybind11::handle t, int rule, double parameter, pybind11::handle prediction);

}  // namespace softdiff::device

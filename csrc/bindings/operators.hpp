// The operators of the module: tensors in, a tensor out, or None where an eager call is not for the kernels (tensor.hpp, Call).
// What can be told from shapes, dtypes and devices is checked in softdiff_ext/ops with messages for people; what only the
// values can tell (a tau inside a tensor) is checked here, before anything is drawn or computed.
#pragma once

#include <pybind11/pybind11.h>

namespace softdiff {

// V (alpha^power . V^T x) + sigma noise.
pybind11::object level_filter(pybind11::handle attach, const pybind11::str& prefix, pybind11::handle x, pybind11::handle noise,
                              pybind11::handle seed, pybind11::handle level, int power);
// V (p . V^T output + q . V^T z_t + w . V^T noise).
pybind11::object step(pybind11::handle attach, const pybind11::str& name, pybind11::handle output, pybind11::handle z_t,
                      pybind11::handle noise, pybind11::handle seed, pybind11::handle s, pybind11::handle t, int rule,
                      double parameter, pybind11::handle prediction);
// V sum_i (gain_i . V^T image_i); the gains broadcast.
pybind11::object filter_sum(pybind11::handle attach, pybind11::handle image0, pybind11::handle gain0, pybind11::handle image1,
                            pybind11::handle gain1, pybind11::handle image2, pybind11::handle gain2);
// Orthonormal DCT-II, or its inverse, over the last two dimensions (ndim 2), the last (1), or in place over the one before it
// (-2).
pybind11::object transform(pybind11::handle attach, pybind11::handle x, pybind11::handle ndim, bool inverse);
// Per sample: sum of (alpha . V^T (a - b))^2.
pybind11::object energy(pybind11::handle attach, pybind11::handle a, pybind11::handle b, pybind11::handle level);

// (V^T x)(V^T y) per frequency, summed over the batch or the channels, or both.
pybind11::object correlation(pybind11::handle attach, pybind11::handle x, pybind11::handle y, bool sum_batch,
                             bool sum_channels);

// Into `out`: standard normal numbers from an int, or on a device from an int64 tensor there; the p, q, w of a step as maps [B,
// 3, H, W].
void fill_normal(pybind11::handle out, pybind11::handle seed);
void fill_step_coefficients(const pybind11::str& name, pybind11::handle out, pybind11::handle s, pybind11::handle t, int rule,
                            double parameter, pybind11::handle prediction);

void check_level_values(const pybind11::str& prefix, std::int64_t batch, pybind11::handle level);
void check_step_values(const pybind11::str& name, std::int64_t batch, pybind11::handle s, pybind11::handle t, int rule,
                       pybind11::handle prediction);

}  // namespace softdiff

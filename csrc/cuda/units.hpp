// The kernels are compiled in several translation units for each type of arithmetic (kernels.cu): nvcc takes minutes for all of
// them. These are the units' entries.
#pragma once

#include "task.hpp"

namespace softdiff::cuda::units {

template <class T>
void combine(const Combine& task, const Place& place);
template <class T>
void transform(const Transform& task, const Place& place);
template <class T>
void energy(const Energy& task, const Place& place);
template <class T>
void normal(const Normal& task, const Place& place);
template <class T>
void coefficients(const Coefficients& task, const Place& place);

}  // namespace softdiff::cuda::units

// The kernels are compiled in several translation units, one for each operation and storage type (kernels.cu): nvcc takes
// minutes for all of them. These are the units' entries.
#pragma once

#include "../core/storage.hpp"
#include "task.hpp"

namespace softdiff::cuda::units {

template <class Storage>
void combine(const Combine& task, const Place& place);
template <class Storage>
void transform(const Transform& task, const Place& place);
template <class Storage>
void energy(const Energy& task, const Place& place);
template <class Storage>
void normal(const Normal& task, const Place& place);
template <class Arithmetic>
void coefficients(const Coefficients& task, const Place& place);

}  // namespace softdiff::cuda::units

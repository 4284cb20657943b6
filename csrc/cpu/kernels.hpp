// What each pair of instruction set and arithmetic type (kernels.cpp) provides to the table of that instruction set (isa.cpp).
#pragma once

#include "task.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
void combine(const CombineTask& task);
template <class T>
void transform(const TransformTask& task);
template <class T>
void energy(const EnergyTask& task);
template <class T>
void normal(const NormalTask& task);
template <class T>
void coefficients(const CoefficientTask& task);

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

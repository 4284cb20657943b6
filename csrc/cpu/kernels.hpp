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
void correlation(const CorrelationTask& task);
template <class T>
void normal(const NormalTask& task);
template <class T>
void coefficients(const CoefficientTask& task);

// Each is defined for one arithmetic type by one compilation of kernels.cpp.
template <>
void combine<float>(const CombineTask& task);
template <>
void combine<double>(const CombineTask& task);
template <>
void transform<float>(const TransformTask& task);
template <>
void transform<double>(const TransformTask& task);
template <>
void energy<float>(const EnergyTask& task);
template <>
void energy<double>(const EnergyTask& task);
template <>
void correlation<float>(const CorrelationTask& task);
template <>
void correlation<double>(const CorrelationTask& task);
template <>
void normal<float>(const NormalTask& task);
template <>
void normal<double>(const NormalTask& task);
template <>
void coefficients<float>(const CoefficientTask& task);
template <>
void coefficients<double>(const CoefficientTask& task);

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// The entry points of task.hpp: which unit serves a storage type. All but float64 are computed with in float32.
#include <stdexcept>

#include "units.hpp"

namespace softdiff::cuda {

void combine(const Combine& task, const Place& place) {
    task.dtype == Dtype::kFloat64 ? units::combine<double>(task, place) : units::combine<float>(task, place);
}

void transform(const Transform& task, const Place& place) {
    task.dtype == Dtype::kFloat64 ? units::transform<double>(task, place) : units::transform<float>(task, place);
}

void energy(const Energy& task, const Place& place) {
    task.dtype == Dtype::kFloat64 ? units::energy<double>(task, place) : units::energy<float>(task, place);
}

void normal(const Normal& task, const Place& place) {
    task.dtype == Dtype::kFloat64 ? units::normal<double>(task, place) : units::normal<float>(task, place);
}

void coefficients(const Coefficients& task, const Place& place) {
    if (task.dtype == Dtype::kFloat64) return units::coefficients<double>(task, place);
    if (task.dtype == Dtype::kFloat32) return units::coefficients<float>(task, place);
    throw std::logic_error("step_coefficients: maps are float64 or float32");
}

}  // namespace softdiff::cuda

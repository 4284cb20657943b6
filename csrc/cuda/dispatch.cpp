// The entry points of task.hpp: which unit serves a storage type.
#include <stdexcept>

#include "units.hpp"

namespace softdiff::cuda {
namespace {

// In the order of Dtype.
template <class Task>
using Units = void (*const[4])(const Task&, const Place&);

constexpr Units<Combine> kCombine = {units::combine<double>, units::combine<float>, units::combine<Float16Bits>,
                                     units::combine<BFloat16Bits>};
constexpr Units<Transform> kTransform = {units::transform<double>, units::transform<float>, units::transform<Float16Bits>,
                                         units::transform<BFloat16Bits>};
constexpr Units<Energy> kEnergy = {units::energy<double>, units::energy<float>, units::energy<Float16Bits>,
                                   units::energy<BFloat16Bits>};
constexpr Units<Normal> kNormal = {units::normal<double>, units::normal<float>, units::normal<Float16Bits>,
                                   units::normal<BFloat16Bits>};

}  // namespace

void combine(const Combine& task, const Place& place) { kCombine[static_cast<int>(task.dtype)](task, place); }

void transform(const Transform& task, const Place& place) { kTransform[static_cast<int>(task.dtype)](task, place); }

void energy(const Energy& task, const Place& place) { kEnergy[static_cast<int>(task.dtype)](task, place); }

void normal(const Normal& task, const Place& place) { kNormal[static_cast<int>(task.dtype)](task, place); }

void coefficients(const Coefficients& task, const Place& place) {
    if (task.dtype == Dtype::kFloat64) return units::coefficients<double>(task, place);
    if (task.dtype == Dtype::kFloat32) return units::coefficients<float>(task, place);
    throw std::logic_error("step_coefficients: maps are float64 or float32");
}

}  // namespace softdiff::cuda

// The units of cuda/units.hpp on the emulated device, compiled once for each storage type (SOFTDIFF_STORAGE): the same entries
// as in cuda/kernels.cu, with the memory of each task made known to the Machine.
#include "../cuda/entry.hpp"
#include "../cuda/units.hpp"
#include "launcher.hpp"

namespace softdiff::cuda::units {
namespace {

using emulation::Access;
using emulation::Machine;
using Arithmetic = typename ArithmeticOf<SOFTDIFF_STORAGE>::Type;

constexpr std::int64_t kStored = sizeof(SOFTDIFF_STORAGE), kComputed = sizeof(Arithmetic);

template <class Task>
void know(const char* name, const Task& task, const Image& image, std::int64_t element_bytes) {
    const std::int64_t sizes[] = {task.batch, task.channels, task.height, task.width};
    std::int64_t last = 0;
    for (int i = 0; i < 4; ++i) last += (sizes[i] - 1) * image.stride[i];
    Machine::instance().add_region(name, image.data, (last + 1) * element_bytes, Access::kReadOnly);
}

void know(const LevelFields& fields, std::int64_t batch) {
    for (const LevelField& field : fields.field)
        Machine::instance().add_region("level", field.data, ((batch - 1) * field.stride + 1) * (field.is_float32 ? 4 : 8),
                                       Access::kReadOnly);
}

void know(const Seed& seed) { Machine::instance().add_region("seed", seed.data, 8, Access::kReadOnly); }

void know_output(const void* out, std::int64_t bytes) {
    Machine::instance().add_region("output", out, bytes, Access::kReadWrite);
}

}  // namespace

template <>
void combine<SOFTDIFF_STORAGE>(const Combine& task, const Place& /*place*/) {
    EmulatedLauncher launcher;
    for (const Image& image : task.term) know("image", task, image, kStored);
    if (task.kind == GainKind::kMap)
        for (const Image& map : task.map) know("gain", task, map, kComputed);
    know(task.s, task.batch);
    know(task.t, task.batch);
    know(task.seed);
    know_output(task.out, task.batch * task.channels * task.height * task.width * kStored);
    run_combine<SOFTDIFF_STORAGE>(task, launcher);
    Machine::instance().check_written(task.out);
}

template <>
void transform<SOFTDIFF_STORAGE>(const Transform& task, const Place& /*place*/) {
    EmulatedLauncher launcher;
    know("image", task, task.input, kStored);
    know_output(task.out, task.batch * task.channels * task.height * task.width * kStored);
    run_transform<SOFTDIFF_STORAGE>(task, launcher);
    Machine::instance().check_written(task.out);
}

template <>
void energy<SOFTDIFF_STORAGE>(const Energy& task, const Place& /*place*/) {
    EmulatedLauncher launcher;
    know("image", task, task.a, kStored);
    know("image", task, task.b, kStored);
    know(task.level, task.batch);
    know_output(task.out, task.batch * kComputed);
    run_energy<SOFTDIFF_STORAGE>(task, launcher);
    Machine::instance().check_written(task.out);
}

template <>
void normal<SOFTDIFF_STORAGE>(const Normal& task, const Place& /*place*/) {
    EmulatedLauncher launcher;
    know(task.seed);
    know_output(task.out, task.size * kStored);
    run_normal<SOFTDIFF_STORAGE>(task, launcher);
    Machine::instance().check_written(task.out);
}

#if defined(SOFTDIFF_HAS_MAPS)  // maps of coefficients are in the type of the arithmetic

template <>
void coefficients<SOFTDIFF_STORAGE>(const Coefficients& task, const Place& /*place*/) {
    EmulatedLauncher launcher;
    know(task.s, task.batch);
    know(task.t, task.batch);
    know_output(task.out, task.batch * kTerms * task.height * task.width * kStored);
    run_coefficients<SOFTDIFF_STORAGE>(task, launcher);
    Machine::instance().check_written(task.out);
}

#endif

}  // namespace softdiff::cuda::units

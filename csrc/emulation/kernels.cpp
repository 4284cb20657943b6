// The units of cuda/units.hpp on the emulated device, compiled once for each type of arithmetic (SOFTDIFF_ARITHMETIC): the same
// entries as in cuda/kernels.cu, with the memory of each task made known to the Machine.
#include "../cuda/entry.hpp"
#include "../cuda/units.hpp"
#include "launcher.hpp"

namespace softdiff::cuda::units {
namespace {

using emulation::Access;
using emulation::Machine;
using Arithmetic = SOFTDIFF_ARITHMETIC;

constexpr std::int64_t kComputed = sizeof(Arithmetic);

// Bytes of a number of the images.
std::int64_t stored(Dtype dtype) {
    std::int64_t bytes = 0;
    with_storage<Arithmetic>(dtype, [&](auto as) { bytes = sizeof(typename decltype(as)::Type); });
    return bytes;
}

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
void combine<Arithmetic>(const Combine& task, const Place& /*place*/) {
    EmulatedLauncher launcher;
    for (const Image& image : task.term) know("image", task, image, stored(task.dtype));
    if (task.kind == GainKind::kMap)
        for (const Image& map : task.map) know("gain", task, map, kComputed);
    know(task.s, task.batch);
    know(task.t, task.batch);
    know(task.seed);
    know_output(task.out, task.batch * task.channels * task.height * task.width * stored(task.dtype));
    run_combine<Arithmetic>(task, launcher);
    Machine::instance().check_written(task.out);
}

template <>
void transform<Arithmetic>(const Transform& task, const Place& /*place*/) {
    EmulatedLauncher launcher;
    know("image", task, task.input, stored(task.dtype));
    know_output(task.out, task.batch * task.channels * task.height * task.width * stored(task.dtype));
    run_transform<Arithmetic>(task, launcher);
    Machine::instance().check_written(task.out);
}

template <>
void energy<Arithmetic>(const Energy& task, const Place& /*place*/) {
    EmulatedLauncher launcher;
    know("image", task, task.a, stored(task.dtype));
    know("image", task, task.b, stored(task.dtype));
    know(task.level, task.batch);
    know_output(task.out, task.batch * kComputed);
    run_energy<Arithmetic>(task, launcher);
    Machine::instance().check_written(task.out);
}

template <>
void normal<Arithmetic>(const Normal& task, const Place& /*place*/) {
    EmulatedLauncher launcher;
    know(task.seed);
    know_output(task.out, task.size * stored(task.dtype));
    run_normal<Arithmetic>(task, launcher);
    Machine::instance().check_written(task.out);
}

template <>
void coefficients<Arithmetic>(const Coefficients& task, const Place& /*place*/) {
    EmulatedLauncher launcher;
    know(task.s, task.batch);
    know(task.t, task.batch);
    know_output(task.out, task.batch * kTerms * task.height * task.width * stored(task.dtype));
    run_coefficients<Arithmetic>(task, launcher);
    Machine::instance().check_written(task.out);
}

}  // namespace softdiff::cuda::units

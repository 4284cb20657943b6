#include "device_operators.hpp"

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "device_call.hpp"

namespace py = pybind11;

namespace softdiff::device {
namespace {

// Kernels count positions within a plane in 32 bits.
constexpr std::int64_t kMostPositions = std::numeric_limits<std::int32_t>::max();

bool fits(const Image& image, std::int64_t height, std::int64_t width) {
    return (height - 1) * image.stride[2] + (width - 1) * image.stride[3] <= kMostPositions;
}

// Makes the output and computes it.
py::object combined(const Call& call, const Images& images, cuda::Combine& task) {
    py::object out = call.empty_like(images.like());
    task.out = Call::memory(out);
    if (images.like().size() == 0) return out;
    std::vector<py::object> copies;
    for (int i = 0; i < kTerms; ++i) task.term[i] = taken(images.view(i), copies);
    Running(images.like().device).run(cuda::combine, task);
    return out;
}

cuda::Combine combine_task(const Images& images) {
    cuda::Combine task{};
    images.describe(task);
    if (task.height * task.width > kMostPositions)
        throw std::invalid_argument("softdiff_ext: on a CUDA device a plane has less than 2^31 pixels, got " +
                                    std::to_string(task.height) + " x " + std::to_string(task.width));
    return task;
}

// A step's levels, rule and prediction, checked as far as they are numbers.
template <class Task>
void give_step(Task& task, const py::str& name, const DeviceLevel& s, const DeviceLevel& t, int rule, double parameter,
               py::handle prediction) {
    task.s = s.fields();
    task.t = t.fields();
    task.rule = to_rule(rule);
    task.parameter = parameter;
    task.prediction = to_prediction(prediction);
    if (s.numbers() && t.numbers()) check_step(text(name), s.array(), t.array(), 1, task.rule, task.prediction);
}

}  // namespace

py::object level_filter(const Call& call, const Images& images, const py::str& prefix, py::handle x, py::handle noise,
                        py::handle seed, py::handle level, int power) {
    const int device = images.like().device;
    DeviceSeed random(call, seed, !noise.is_none(), device);
    const DeviceLevel levels(call, level, images.like().shape[0], device);
    auto task = combine_task(images);
    task.kind = GainKind::kLevel;
    task.power = power;
    task.t = levels.fields();
    if (levels.numbers()) check_levels(text(prefix), "", levels.array(), 1);
    random.draw();
    task.draw_noise = !random.none();
    task.seed = random.seed();
    py::object out = combined(call, images, task);
    if (!images.requires_grad()) return out;
    return call.attach(out, py::make_tuple(random.value(), levels.kept(call), power), prefix, x, noise);
}

py::object step(const Call& call, const Images& images, const py::str& name, py::handle output, py::handle z_t,
                py::handle noise, py::handle seed, py::handle s, py::handle t, int rule, double parameter,
                py::handle prediction) {
    const int device = images.like().device;
    DeviceSeed random(call, seed, !noise.is_none(), device);
    const std::int64_t batch = images.like().shape[0];
    const DeviceLevel cleaner(call, s, batch, device), noisier(call, t, batch, device);
    auto task = combine_task(images);
    task.kind = GainKind::kStep;
    task.power = 1;
    give_step(task, name, cleaner, noisier, rule, parameter, prediction);
    random.draw();
    task.draw_noise = !random.none();
    task.seed = random.seed();
    py::object out = combined(call, images, task);
    if (!images.requires_grad()) return out;
    return call.attach(out, py::make_tuple(random.value(), cleaner.kept(call), noisier.kept(call), rule, parameter, prediction),
                       name, output, z_t, noise);
}

py::object filter_sum(const Call& call, const Images& images, const Handles& terms, const Handles& gains) {
    auto task = combine_task(images);
    task.kind = GainKind::kMap;
    bool differentiable = images.requires_grad();
    std::vector<py::object> copies;
    for (int i = 0; i < kTerms; ++i) {
        if (gains[i].is_none() != terms[i].is_none()) throw NotPlain{"images and gains in pairs"};
        if (gains[i].is_none()) continue;
        const TensorView gain = call.read(gains[i], Allowed::kDevices);
        if (gain.device != images.like().device) throw NotPlain{"gains on the device of the images"};
        task.map[i] = broadcast(gain, images.like());
        if (!fits(task.map[i], task.height, task.width)) {
            copies.push_back(gains[i].attr("detach")().attr("contiguous")());
            task.map[i] = broadcast(call.read(copies.back(), Allowed::kDevices), images.like());
        }
        differentiable |= gain.requires_grad;
    }
    py::object out = combined(call, images, task);
    if (!differentiable) return out;
    if (terms[1].is_none() && terms[2].is_none())
        return call.attach(out, py::make_tuple(terms[1], gains[1], terms[2], gains[2]), terms[0], gains[0]);
    return call.attach(out, py::tuple(), terms[0], gains[0], terms[1], gains[1], terms[2], gains[2]);
}

py::object transform(const Call& call, const TensorView& view, const TransformTask& task, py::handle ndim, py::handle x) {
    if (task.axes == Axes::kColumns) throw NotPlain{"transforms over the last dimension or the last two"};
    const bool rows_only = task.axes == Axes::kRows;
    if (!rows_only && !fits(task.input, task.height, task.width)) throw NotPlain{"planes of less than 2^31 positions"};
    py::object out = call.empty_like(view);
    cuda::Transform there{task.batch, task.channels, task.height, task.width,       task.dtype,
                          task.input, task.inverse,  rows_only,   Call::memory(out)};
    if (view.size() != 0) Running(view.device).run(cuda::transform, there);
    return view.requires_grad ? call.attach(out, py::make_tuple(ndim, task.inverse), x) : out;
}

py::object energy(const Call& call, const Images& images, py::handle a, py::handle b, py::handle level) {
    const TensorView& like = images.like();
    const std::int64_t batch = like.shape[0];
    const DeviceLevel levels(call, level, batch, like.device);
    if (levels.numbers()) check_levels("soft_score_loss: level.", "", levels.array(), 1);
    cuda::Energy task{};
    images.describe(task);
    std::vector<py::object> copies;
    task.a = taken(images.view(0), copies);
    task.b = taken(images.view(1), copies);
    task.level = levels.fields();
    py::object out = call.empty(py::make_tuple(batch), accumulation_dtype(task.dtype), like.device);
    task.out = Call::memory(out);
    if (batch != 0) Running(like.device).run(cuda::energy, task);
    return images.requires_grad() ? call.attach(out, py::make_tuple(levels.kept(call)), a, b) : out;
}

py::object normal(const Call& call, const TensorView& out, py::handle seed) {
    const DeviceSeed random(call, seed, false, out.device);
    const cuda::Normal task{out.size(), out.dtype, random.seed(), out.data};
    if (task.size != 0) Running(out.device).run(cuda::normal, task);
    return py::none();
}

py::object step_coefficients(const Call& call, const TensorView& out, const py::str& name, py::handle s, py::handle t, int rule,
                             double parameter, py::handle prediction) {
    const std::int64_t batch = out.shape[0];
    const DeviceLevel cleaner(call, s, batch, out.device), noisier(call, t, batch, out.device);
    cuda::Coefficients task{};
    task.batch = batch;
    task.height = out.shape[2];
    task.width = out.shape[3];
    task.dtype = out.dtype;
    task.out = out.data;
    give_step(task, name, cleaner, noisier, rule, parameter, prediction);
    if (batch != 0) Running(out.device).run(cuda::coefficients, task);
    return py::none();
}

}  // namespace softdiff::device

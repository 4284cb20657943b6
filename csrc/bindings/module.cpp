// The Python module softdiff_ext._C: raw pointers, sizes and plain numbers in, nothing out but through the pointers. Tensors,
// their shapes, dtypes and devices are checked in softdiff_ext/ops; what only the values can tell (a tau inside a tensor) is
// checked here, before anything is computed. Every function lets go of the GIL while it works.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "../cpu/dispatch.hpp"
#include "build_info.hpp"
#include "levels.hpp"

namespace py = pybind11;

namespace softdiff {
namespace {

using Shape = std::array<std::int64_t, 4>;
using Operand = std::optional<std::pair<std::uintptr_t, Shape>>;  // data pointer and strides in elements

Image to_image(const Operand& operand) {
    Image image;
    if (operand) {
        image.data = reinterpret_cast<const void*>(operand->first);
        for (int i = 0; i < 4; ++i) image.stride[i] = operand->second[i];
    }
    return image;
}

Dtype to_dtype(int code) {
    if (code < 0 || code > 3)
        throw std::invalid_argument("dtype must be 0 (float64), 1 (float32), 2 (float16) or 3 (bfloat16), got " +
                                    std::to_string(code));
    return static_cast<Dtype>(code);
}

void check_side(std::int64_t side) {
    if (side > kMaxLine)
        throw std::invalid_argument("the sides of an image must be at most " + std::to_string(kMaxLine) + ", got " +
                                    std::to_string(side));
}

template <class Task>
void set_output(Task& task, const Shape& shape, int dtype, std::uintptr_t out, int threads) {
    for (const std::int64_t size : shape)
        if (size < 0) throw std::invalid_argument("shape must hold sizes >= 0, got " + std::to_string(size));
    task.batch = shape[0];
    task.channels = shape[1];
    task.height = shape[2];
    task.width = shape[3];
    task.dtype = to_dtype(dtype);
    task.out = reinterpret_cast<void*>(out);
    task.threads = threads;
}

bool empty(const Shape& shape) { return shape[0] == 0 || shape[1] == 0 || shape[2] == 0 || shape[3] == 0; }

void run_combine(const CombineTask& task, const Shape& shape) {
    if (empty(shape)) return;
    const py::gil_scoped_release release;
    active_kernels().combine[wide(task.dtype)](task);
}

void level_filter(const std::string& prefix, std::uintptr_t out, int dtype, const Shape& shape, const Operand& x,
                  const Operand& noise, const std::optional<std::uint64_t>& seed, const LevelArgument& level, int power,
                  int threads) {
    CombineTask task{};
    set_output(task, shape, dtype, out, threads);
    check_side(std::max(shape[2], shape[3]));
    task.kind = GainKind::kLevel;
    if (power != 1 && power != 2) throw std::invalid_argument("power must be 1 or 2, got " + std::to_string(power));
    task.power = power;
    task.t = level.array(shape[0]);
    check_levels(prefix, task.t, shape[0]);
    task.term[0] = to_image(x);
    task.term[2] = to_image(noise);
    task.draw_noise = seed.has_value();
    task.seed = seed.value_or(0);
    run_combine(task, shape);
}

void step(const std::string& name, std::uintptr_t out, int dtype, const Shape& shape, const Operand& output, const Operand& z_t,
          const Operand& noise, const std::optional<std::uint64_t>& seed, const LevelArgument& s, const LevelArgument& t,
          int rule, double parameter, int prediction, int threads) {
    CombineTask task{};
    set_output(task, shape, dtype, out, threads);
    check_side(std::max(shape[2], shape[3]));
    task.kind = GainKind::kStep;
    task.power = 1;
    task.s = s.array(shape[0]);
    task.t = t.array(shape[0]);
    task.rule = to_rule(rule);
    task.parameter = parameter;
    task.prediction = to_prediction(prediction);
    check_step(name, task.s, task.t, shape[0], task.rule, task.prediction);
    task.term[0] = to_image(output);
    task.term[1] = to_image(z_t);
    task.term[2] = to_image(noise);
    task.draw_noise = seed.has_value();
    task.seed = seed.value_or(0);
    run_combine(task, shape);
}

void filter_sum(std::uintptr_t out, int dtype, const Shape& shape, const std::array<Operand, kTerms>& images,
                const std::array<Operand, kTerms>& gains, int threads) {
    CombineTask task{};
    set_output(task, shape, dtype, out, threads);
    check_side(std::max(shape[2], shape[3]));
    task.kind = GainKind::kMap;
    for (int i = 0; i < kTerms; ++i) {
        if (images[i].has_value() != gains[i].has_value()) throw std::invalid_argument("images and gains must come in pairs");
        task.term[i] = to_image(images[i]);
        task.map[i] = to_image(gains[i]);
    }
    run_combine(task, shape);
}

void transform(std::uintptr_t out, int dtype, const Shape& shape, const Operand& x, bool inverse, bool rows_only, int threads) {
    TransformTask task{};
    set_output(task, shape, dtype, out, threads);
    check_side(shape[3]);
    if (!rows_only) check_side(shape[2]);
    task.input = to_image(x);
    task.inverse = inverse;
    task.rows_only = rows_only;
    if (rows_only && (shape[0] != 1 || shape[1] != 1))
        throw std::invalid_argument("rows_only takes a shape (1, 1, rows, size)");
    if (empty(shape)) return;
    const py::gil_scoped_release release;
    active_kernels().transform[wide(task.dtype)](task);
}

void energy(const std::string& prefix, std::uintptr_t out, int dtype, const Shape& shape, const Operand& a, const Operand& b,
            const LevelArgument& level, int threads) {
    EnergyTask task{};
    set_output(task, shape, dtype, out, threads);
    check_side(std::max(shape[2], shape[3]));
    task.level = level.array(shape[0]);
    check_levels(prefix, task.level, shape[0]);
    task.a = to_image(a);
    task.b = to_image(b);
    if (shape[0] == 0) return;
    if (empty(shape)) throw std::invalid_argument("shape must hold sizes >= 1 after the first");
    const py::gil_scoped_release release;
    active_kernels().energy[wide(task.dtype)](task);
}

void normal(std::uintptr_t out, int dtype, std::int64_t size, std::uint64_t seed, int threads) {
    NormalTask task{};
    task.dtype = to_dtype(dtype);
    task.out = reinterpret_cast<void*>(out);
    task.threads = threads;
    task.size = size;
    task.seed = seed;
    if (size <= 0) return;
    const py::gil_scoped_release release;
    active_kernels().normal[wide(task.dtype)](task);
}

void coefficient_maps(const std::string& name, std::uintptr_t out, int dtype, std::int64_t batch,
                      std::pair<std::int64_t, std::int64_t> size, const LevelArgument& s, const LevelArgument& t, int rule,
                      double parameter, int prediction) {
    CoefficientTask task{};
    task.dtype = to_dtype(dtype);
    task.out = reinterpret_cast<void*>(out);
    task.batch = batch;
    task.height = size.first;
    task.width = size.second;
    task.s = s.array(batch);
    task.t = t.array(batch);
    task.rule = to_rule(rule);
    task.parameter = parameter;
    task.prediction = to_prediction(prediction);
    check_step(name, task.s, task.t, batch, task.rule, task.prediction);
    if (batch == 0) return;
    const py::gil_scoped_release release;
    active_kernels().coefficients[wide(task.dtype)](task);
}

void check_level_values(const std::string& prefix, std::int64_t batch, const LevelArgument& level) {
    check_levels(prefix, level.array(batch), batch);
}

void check_step_values(const std::string& name, std::int64_t batch, const LevelArgument& s, const LevelArgument& t, int rule,
                       int prediction) {
    check_step(name, s.array(batch), t.array(batch), batch, to_rule(rule), to_prediction(prediction));
}

}  // namespace
}  // namespace softdiff

PYBIND11_MODULE(_C, m) {
    using namespace softdiff;
    using py::arg;
    m.doc() = "Native kernels of softdiff_ext. Use softdiff_ext.ops: these functions take raw pointers and trust them.";
    m.def("level_filter", &level_filter, arg("prefix"), arg("out"), arg("dtype"), arg("shape"), arg("x"), arg("noise"),
          arg("seed"), arg("level"), arg("power"), arg("threads"), "V (alpha^power . V^T x) + sigma noise.");
    m.def("step", &step, arg("name"), arg("out"), arg("dtype"), arg("shape"), arg("output"), arg("z_t"), arg("noise"),
          arg("seed"), arg("s"), arg("t"), arg("rule"), arg("parameter"), arg("prediction"), arg("threads"),
          "V (p . V^T output + q . V^T z_t + w . V^T noise).");
    m.def("filter_sum", &filter_sum, arg("out"), arg("dtype"), arg("shape"), arg("images"), arg("gains"), arg("threads"),
          "V sum_i (gain_i . V^T image_i).");
    m.def("transform", &transform, arg("out"), arg("dtype"), arg("shape"), arg("x"), arg("inverse"), arg("rows_only"),
          arg("threads"), "Orthonormal DCT-II, or its inverse, over the last two dimensions or the last one.");
    m.def("energy", &energy, arg("prefix"), arg("out"), arg("dtype"), arg("shape"), arg("a"), arg("b"), arg("level"),
          arg("threads"), "Per sample: sum of (alpha . V^T (a - b))^2.");
    m.def("normal", &normal, arg("out"), arg("dtype"), arg("size"), arg("seed"), arg("threads"),
          "Standard normal numbers, a function of seed and index only.");
    m.def("step_coefficients", &coefficient_maps, arg("name"), arg("out"), arg("dtype"), arg("batch"), arg("size"), arg("s"),
          arg("t"), arg("rule"), arg("parameter"), arg("prediction"), "p, q, w of a step as maps [batch, 3, H, W].");
    m.def("check_level", &check_level_values, arg("prefix"), arg("batch"), arg("level"),
          "Raise ValueError where a level is out of range.");
    m.def("check_step", &check_step_values, arg("name"), arg("batch"), arg("s"), arg("t"), arg("rule"), arg("prediction"),
          "Raise ValueError where no step leads from t to s.");
    m.def("available_isas", &available_isas, "Instruction sets compiled in and present here, best first.");
    m.def("select_isa", &select_isa, arg("name"), "Use this instruction set from now on.");
    m.def("build_info", &build_info, "What was compiled in, and what is found here.");
}

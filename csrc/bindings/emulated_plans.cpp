// How the tile kernels would be launched (cuda/generic.hpp), as numbers for the tests: nothing runs.
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "../cuda/generic.hpp"
#include "emulated.hpp"

namespace py = pybind11;

namespace softdiff {
namespace {

const char* name_of(Tiling tiling) {
    switch (tiling) {
        case Tiling::kWhole: return "whole";
        case Tiling::kColumnPanels: return "columns";
        default: return "rows";
    }
}

template <class T>
py::dict described(const TilePlan<T>& plan) {
    py::list passes;
    for (const TilePass<T>& pass : plan.passes) {
        py::dict one;
        one["tiling"] = name_of(pass.tiling);
        one["in_global_memory"] = pass.in_global_memory;
        one["panels"] = pass.panels;
        one["rows"] = pass.params.rows;
        one["columns"] = pass.params.columns;
        one["threads"] = pass.threads;
        one["block_bytes"] = pass.block_bytes();
        one["shared_bytes"] = pass.shape(1).shared_bytes;
        one["most_blocks"] = pass.most_blocks;
        one["steps"] = pass.params.steps;
        passes.append(one);
    }
    py::dict found;
    found["passes"] = passes;
    found["planes"] = plan.planes;
    found["chunk"] = plan.chunk;
    found["scratch_bytes"] = plan.scratch_tensors * plan.scratch_values() * static_cast<std::int64_t>(sizeof(T));
    return found;
}

template <class Task>
Task sized(std::int64_t batch, std::int64_t channels, std::int64_t height, std::int64_t width, Dtype dtype) {
    Task task{};
    task.batch = batch;
    task.channels = channels;
    task.height = height;
    task.width = width;
    task.dtype = dtype;
    return task;
}

template <class T>
py::dict plan(const std::string& operation, std::int64_t batch, std::int64_t channels, std::int64_t height, std::int64_t width,
              int images, bool noise, std::int64_t scratch_bytes) {
    const Dtype dtype = sizeof(T) == sizeof(double) ? Dtype::kFloat64 : Dtype::kFloat32;
    if (operation == "combine") {
        auto task = sized<cuda::Combine>(batch, channels, height, width, dtype);
        task.kind = GainKind::kStep;
        task.rule = Rule::kMarkov;
        task.s.field[1].number = task.t.field[1].number = 1.0;
        task.draw_noise = noise;
        for (int i = 0; i < images; ++i) task.term[i].data = &task;  // anything: it is not looked at
        return described(plan_combine<T>(combine_params(task), scratch_bytes));
    }
    if (operation == "energy")
        return described(plan_energy<T>(sized<cuda::Energy>(batch, channels, height, width, dtype), scratch_bytes));
    auto task = sized<cuda::Transform>(batch, channels, height, width, dtype);
    task.inverse = operation == "idct";
    task.rows_only = operation == "rows";
    if (!task.rows_only && !task.inverse && operation != "dct") throw std::invalid_argument("no operation " + operation);
    return described(plan_transform<T>(task, scratch_bytes));
}

}  // namespace

void define_plans(py::module_& m) {
    m.def(
        "tile_plan",
        [](const std::string& operation, std::int64_t batch, std::int64_t channels, std::int64_t height, std::int64_t width,
           bool wide, int images, bool noise, std::int64_t scratch_bytes) {
            return wide ? plan<double>(operation, batch, channels, height, width, images, noise, scratch_bytes)
                        : plan<float>(operation, batch, channels, height, width, images, noise, scratch_bytes);
        },
        py::arg("operation"), py::arg("batch"), py::arg("channels"), py::arg("height"), py::arg("width"),
        py::arg("wide") = false, py::arg("images") = 1, py::arg("noise") = false,
        py::arg("scratch_bytes") = std::int64_t{256} << 20, "The passes of `combine`, `dct`, `idct`, `rows` or `energy`.");
}

}  // namespace softdiff

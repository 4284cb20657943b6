// What fills a tensor that is there, and the checks of values alone.
#include <cstdint>

#include "device_operators.hpp"
#include "images.hpp"
#include "levels.hpp"
#include "operators.hpp"
#include "run.hpp"

namespace py = pybind11;

namespace softdiff {

void fill_normal(py::handle out, py::handle seed) {
    run_call(py::none(), [&](const Call& call) -> py::object {
        const TensorView view = call.read(out, Allowed::kDevices);
        if constexpr (kHaveDevice)
            if (view.device != kHost) return device::normal(call, view, seed);
        NormalTask task{};
        task.dtype = view.dtype;
        task.out = view.data;
        task.threads = thread_count();
        task.size = view.size();
        task.seed = PyLong_AsUnsignedLongLong(seed.ptr());
        if (PyErr_Occurred()) throw py::error_already_set();
        if (task.size == 0) return py::none();
        run(active_kernels().normal, task, task.size);
        return py::none();
    });
}

void fill_step_coefficients(const py::str& name, py::handle out, py::handle s, py::handle t, int rule, double parameter,
                            py::handle prediction) {
    run_call(py::none(), [&](const Call& call) -> py::object {
        const TensorView view = call.read(out, Allowed::kDevices);
        if (view.rank != 4 || view.shape[1] != 3) throw NotPlain{"maps [B, 3, H, W]"};
        if constexpr (kHaveDevice)
            if (view.device != kHost) return device::step_coefficients(call, view, name, s, t, rule, parameter, prediction);
        const LevelArgument cleaner(call, s, view.shape[0]), noisier(call, t, view.shape[0]);
        CoefficientTask task{};
        task.dtype = view.dtype;
        task.out = view.data;
        task.batch = view.shape[0];
        task.height = view.shape[2];
        task.width = view.shape[3];
        task.s = cleaner.array();
        task.t = noisier.array();
        task.rule = to_rule(rule);
        task.parameter = parameter;
        task.prediction = to_prediction(prediction);
        check_step(text(name), task.s, task.t, task.batch, task.rule, task.prediction);
        if (task.batch == 0) return py::none();
        run(active_kernels().coefficients, task, view.size());
        return py::none();
    });
}

void check_level_values(const py::str& prefix, std::int64_t batch, py::handle level) {
    run_call(py::none(), [&](const Call& call) -> py::object {
        check_levels(text(prefix), "", LevelArgument(call, level, batch).array(), batch);
        return py::none();
    });
}

void check_step_values(const py::str& name, std::int64_t batch, py::handle s, py::handle t, int rule, py::handle prediction) {
    run_call(py::none(), [&](const Call& call) -> py::object {
        const LevelArgument cleaner(call, s, batch), noisier(call, t, batch);
        check_step(text(name), cleaner.array(), noisier.array(), batch, to_rule(rule), to_prediction(prediction));
        return py::none();
    });
}

}  // namespace softdiff

// What fills a tensor that is there, and the checks of values alone.
#include "arguments.hpp"

namespace py = pybind11;

namespace softdiff {

void fill_normal(py::handle out, std::uint64_t seed) {
    run_call(py::none(), [&](const Call& call) -> py::object {
        const TensorView view = call.read(out);
        NormalTask task{};
        task.dtype = view.dtype;
        task.out = view.data;
        task.threads = thread_count();
        task.size = view.size();
        task.seed = seed;
        if (task.size == 0) return py::none();
        run(active_kernels().normal, task, task.size);
        return py::none();
    });
}

void fill_step_coefficients(const py::str& name, py::handle out, py::handle s, py::handle t, int rule, double parameter,
                            py::handle prediction) {
    run_call(py::none(), [&](const Call& call) -> py::object {
        const TensorView view = call.read(out);
        if (view.rank != 4 || view.shape[1] != 3) throw NotPlain{"maps [B, 3, H, W]"};
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

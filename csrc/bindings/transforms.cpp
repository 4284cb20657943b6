// The operators that leave the image space: plain transforms, and sums of squares and of products of spectra.
#include "device_operators.hpp"
#include "images.hpp"
#include "levels.hpp"
#include "operators.hpp"
#include "run.hpp"

namespace py = pybind11;

namespace softdiff {
namespace {

// `ndim` of a transform over the second to last dimension alone, for callers that answer: in place, in a contiguous tensor.
constexpr long kDepth = -2;

}  // namespace

py::object transform(py::handle attach, py::handle x, py::handle ndim, bool inverse) {
    return run_call(attach, [&](const Call& call) -> py::object {
        const long dimensions = PyLong_CheckExact(ndim.ptr()) ? PyLong_AsLong(ndim.ptr()) : 0;
        if (dimensions != 1 && dimensions != 2 && (dimensions != kDepth || call.eager())) {
            PyErr_Clear();
            throw NotPlain{"transforms over the last dimension or the last two"};
        }
        const TensorView view = call.read(x, Allowed::kDevices);
        const Axes axes = dimensions == 1 ? Axes::kRows : dimensions == 2 ? Axes::kBoth : Axes::kColumns;
        const int needed = axes == Axes::kRows ? 1 : 2;
        if (view.rank < needed) throw NotPlain{"tensors of enough dimensions"};
        if (axes == Axes::kColumns && !view.contiguous()) throw NotPlain{"contiguous tensors"};
        for (int i = 1; i <= needed; ++i)
            if (view.shape[view.rank - i] == 0) throw NotPlain{"images that have pixels"};
        TransformTask task = transform_task(view, axes);
        task.inverse = inverse;
        if constexpr (kHaveDevice)
            if (view.device != kHost) return device::transform(call, view, task, ndim, x);
        py::object out = axes == Axes::kColumns ? py::reinterpret_borrow<py::object>(x) : call.empty_like(view);
        task.out = Call::memory(out);
        task.threads = thread_count();
        if (view.size() != 0) run(active_kernels().transform, task, view.size());
        return view.requires_grad ? call.attach(out, py::make_tuple(ndim, inverse), x) : out;
    });
}

py::object energy(py::handle attach, py::handle a, py::handle b, py::handle level) {
    return run_call(attach, [&](const Call& call) -> py::object {
        if (a.is_none() || b.is_none()) throw NotPlain{"two images"};
        const Images images(call, {a, b, py::none()});
        const std::int64_t batch = images.like().shape[0];
        if (images.like().shape[1] == 0) throw NotPlain{"images that have channels"};
        if constexpr (kHaveDevice)
            if (images.on_device()) return device::energy(call, images, a, b, level);
        const LevelArgument levels(call, level, batch);
        auto task = images.task<EnergyTask>();
        task.level = levels.array();
        task.a = images.at(0);
        task.b = images.at(1);
        check_levels("soft_score_loss: level.", "", task.level, batch);
        py::object out = call.empty(py::make_tuple(batch), accumulation_dtype(task.dtype));
        task.out = Call::memory(out);
        if (batch != 0) run(active_kernels().energy, task, images.like().size());
        return images.requires_grad() ? call.attach(out, py::make_tuple(levels.kept(call)), a, b) : out;
    });
}

py::object correlation(py::handle attach, py::handle x, py::handle y, bool sum_batch, bool sum_channels) {
    return run_call(attach, [&](const Call& call) -> py::object {
        if (x.is_none() || y.is_none()) throw NotPlain{"two images"};
        const Images images(call, {x, y, py::none()});
        if (images.on_device())
            throw NotPlain{"images on the CPU"};  // there the product of two transforms serves (ops/filter.py)
        if (images.like().size() == 0) throw NotPlain{"images that are not empty"};
        auto task = images.task<CorrelationTask>();
        task.x = images.at(0);
        task.y = images.at(1);
        task.sum_batch = sum_batch;
        task.sum_channels = sum_channels;
        py::object out =
            call.empty(py::make_tuple(sum_batch ? 1 : task.batch, sum_channels ? 1 : task.channels, task.height, task.width),
                       accumulation_dtype(task.dtype));
        task.out = Call::memory(out);
        run(active_kernels().correlation, task, images.like().size());
        return images.requires_grad() ? call.attach(out, py::make_tuple(sum_batch, sum_channels), x, y) : out;
    });
}

}  // namespace softdiff

#include "operators.hpp"

#include <cstdint>

#include "../cpu/dispatch.hpp"
#include "device_operators.hpp"
#include "images.hpp"
#include "levels.hpp"

namespace py = pybind11;

namespace softdiff {
namespace {

template <class Task>
void run(void (*const kernels[2])(const Task&), const Task& task) {
    const WithoutGil released;
    kernels[wide(task.dtype)](task);
}

// The noise that a kernel draws: none (None), from a seed, or in an eager call from one that is drawn when all is checked.
class Seed {
  public:
    Seed(const Call& call, py::handle argument, bool noise_given) : value_(py::reinterpret_borrow<py::object>(argument)) {
        if (argument.is_none() || PyLong_CheckExact(argument.ptr())) return;
        if (noise_given || !call.eager() || !is_seed_source(argument)) throw NotPlain{"noise, or what to draw it from"};
        to_draw_ = true;
    }

    void draw() {
        if (to_draw_) value_ = draw_seed(value_);
    }
    const py::object& value() const { return value_; }

    void give(CombineTask& task) const {
        task.draw_noise = !value_.is_none();
        if (task.draw_noise) task.seed = PyLong_AsUnsignedLongLong(value_.ptr());
        if (PyErr_Occurred()) throw py::error_already_set();
    }

  private:
    py::object value_;
    bool to_draw_ = false;
};

py::object combined(const Call& call, const Images& images, CombineTask& task) {
    py::object out = call.empty_like(images.like());
    task.out = Call::memory(out);
    if (images.like().size() == 0) return out;
    for (int i = 0; i < kTerms; ++i) task.term[i] = images.at(i);
    run(active_kernels().combine, task);
    return out;
}

}  // namespace

py::object level_filter(py::handle attach, const py::str& prefix, py::handle x, py::handle noise, py::handle seed,
                        py::handle level, int power) {
    return run_call(attach, [&](const Call& call) -> py::object {
        const Images images(call, {x, py::none(), noise});
        if constexpr (kHaveDevice)
            if (images.on_device()) return device::level_filter(call, images, prefix, x, noise, seed, level, power);
        Seed random(call, seed, !noise.is_none());
        const LevelArgument levels(call, level, images.like().shape[0]);
        auto task = images.task<CombineTask>();
        task.kind = GainKind::kLevel;
        task.power = power;
        task.t = levels.array();
        check_levels(text(prefix), "", task.t, task.batch);
        random.draw();
        random.give(task);
        py::object out = combined(call, images, task);
        if (!images.requires_grad()) return out;
        return call.attach(out, py::make_tuple(random.value(), levels.kept(call), power), prefix, x, noise);
    });
}

py::object step(py::handle attach, const py::str& name, py::handle output, py::handle z_t, py::handle noise, py::handle seed,
                py::handle s, py::handle t, int rule, double parameter, py::handle prediction) {
    return run_call(attach, [&](const Call& call) -> py::object {
        const Images images(call, {output, z_t, noise});
        if constexpr (kHaveDevice)
            if (images.on_device())
                return device::step(call, images, name, output, z_t, noise, seed, s, t, rule, parameter, prediction);
        Seed random(call, seed, !noise.is_none());
        const std::int64_t batch = images.like().shape[0];
        const LevelArgument cleaner(call, s, batch), noisier(call, t, batch);
        auto task = images.task<CombineTask>();
        task.kind = GainKind::kStep;
        task.power = 1;
        task.s = cleaner.array();
        task.t = noisier.array();
        task.rule = to_rule(rule);
        task.parameter = parameter;
        task.prediction = to_prediction(prediction);
        check_step(text(name), task.s, task.t, batch, task.rule, task.prediction);
        random.draw();
        random.give(task);
        py::object out = combined(call, images, task);
        if (!images.requires_grad()) return out;
        return call.attach(out,
                           py::make_tuple(random.value(), cleaner.kept(call), noisier.kept(call), rule, parameter, prediction),
                           name, output, z_t, noise);
    });
}

py::object filter_sum(py::handle attach, py::handle image0, py::handle gain0, py::handle image1, py::handle gain1,
                      py::handle image2, py::handle gain2) {
    return run_call(attach, [&](const Call& call) -> py::object {
        const Handles gains = {gain0, gain1, gain2}, terms = {image0, image1, image2};
        const Images images(call, terms);
        if constexpr (kHaveDevice)
            if (images.on_device()) return device::filter_sum(call, images, terms, gains);
        auto task = images.task<CombineTask>();
        task.kind = GainKind::kMap;
        bool differentiable = images.requires_grad();
        for (int i = 0; i < kTerms; ++i) {
            if (gains[i].is_none() != terms[i].is_none()) throw NotPlain{"images and gains in pairs"};
            if (gains[i].is_none()) continue;
            const TensorView gain = call.read(gains[i]);
            task.map[i] = broadcast(gain, images.like());
            differentiable |= gain.requires_grad;
        }
        py::object out = combined(call, images, task);
        if (!differentiable) return out;
        if (image1.is_none() && image2.is_none())
            return call.attach(out, py::make_tuple(image1, gain1, image2, gain2), image0, gain0);
        return call.attach(out, py::tuple(), image0, gain0, image1, gain1, image2, gain2);
    });
}

py::object transform(py::handle attach, py::handle x, py::handle ndim, bool inverse) {
    return run_call(attach, [&](const Call& call) -> py::object {
        const long dimensions = PyLong_CheckExact(ndim.ptr()) ? PyLong_AsLong(ndim.ptr()) : 0;
        if (dimensions != 1 && dimensions != 2) {
            PyErr_Clear();
            throw NotPlain{"transforms over the last dimension or the last two"};
        }
        const TensorView view = call.read(x, Allowed::kDevices);
        if (view.rank < dimensions) throw NotPlain{"tensors of enough dimensions"};
        for (int i = 1; i <= dimensions; ++i)
            if (view.shape[view.rank - i] == 0) throw NotPlain{"images that have pixels"};
        TransformTask task = transform_task(view, static_cast<int>(dimensions));
        task.inverse = inverse;
        if constexpr (kHaveDevice)
            if (view.device != kHost) return device::transform(call, view, task, ndim, x);
        py::object out = call.empty_like(view);
        task.out = Call::memory(out);
        task.threads = thread_count();
        if (view.size() != 0) run(active_kernels().transform, task);
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
        if (batch != 0) run(active_kernels().energy, task);
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
        run(active_kernels().correlation, task);
        return images.requires_grad() ? call.attach(out, py::make_tuple(sum_batch, sum_channels), x, y) : out;
    });
}

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
        run(active_kernels().normal, task);
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
        run(active_kernels().coefficients, task);
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

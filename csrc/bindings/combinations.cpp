// The operators that combine images: filters of a level, reverse steps, filters by given maps.
#include "device_operators.hpp"
#include "images.hpp"
#include "levels.hpp"
#include "operators.hpp"
#include "run.hpp"

namespace py = pybind11;

namespace softdiff {
namespace {

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
    run(active_kernels().combine, task, images.like().size());
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

}  // namespace softdiff

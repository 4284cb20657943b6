#include "levels.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <utility>

namespace py = pybind11;

namespace softdiff {
namespace {

std::string number(double value) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.6g", value);
    return text.data();
}

[[noreturn]] void refuse(std::string prefix, const std::string& what, const LevelArray& levels, std::int64_t sample) {
    throw std::invalid_argument(std::move(prefix) + what +
                                (levels.stride == 0 ? "" : " (sample " + std::to_string(sample) + ")"));
}

bool in_range(const Level& level) {
    return std::isfinite(level.log_a) && std::isfinite(level.tau) && level.tau >= 0.0 && std::isfinite(level.sigma) &&
           level.sigma >= 0.0 && level.floor >= 0.0 && level.floor < 1.0;
}

double value_at(const TensorView& tensor, std::int64_t sample) {
    const std::int64_t at = tensor.rank == 0 ? 0 : sample * tensor.stride[0];
    return tensor.dtype == Dtype::kFloat64 ? static_cast<const double*>(tensor.data)[at]
                                           : static_cast<const float*>(tensor.data)[at];
}

// The blur gain at the highest frequency an image can have, lam = 2 pi^2: where a floor matters most.
double finest_gain(const Level& level) {
    constexpr double kLargestEigenvalue = 2.0 * 9.869604401089358;
    return (1.0 - level.floor) * std::exp(-kLargestEigenvalue * level.tau) + level.floor;
}

// Levels that mean the same may differ by rounding, say by having been computed in float32 at one place.
constexpr double kSlack = 1e-6;

}  // namespace

LevelArgument::LevelArgument(const Call& call, py::handle level, std::int64_t batch) {
    if (PyTuple_Check(level.ptr()) && PyTuple_GET_SIZE(level.ptr()) == 4) {
        read_fields(call, level, batch);
    } else if (is_tensor(level)) {
        read_packed(call, level, batch);
    } else {
        throw NotPlain{"levels of four fields"};
    }
}

void LevelArgument::read_fields(const Call& call, py::handle fields, std::int64_t batch) {
    std::array<TensorView, 4> tensors;
    bool any = false, each = false;
    for (int i = 0; i < 4; ++i) {
        PyObject* field = PyTuple_GET_ITEM(fields.ptr(), i);
        if (PyFloat_Check(field) || (PyLong_Check(field) && !PyBool_Check(field))) {
            one_[i] = PyFloat_AsDouble(field);
            if (one_[i] == -1.0 && PyErr_Occurred()) PyErr_Clear(), one_[i] = NAN;  // an int beyond all floats
            continue;
        }
        if (!is_tensor(field)) throw NotPlain{"levels of numbers and tensors"};
        tensors[i] = call.read(field);
        const TensorView& tensor = tensors[i];
        if (tensor.requires_grad) throw NotPlain{"levels that need no gradient"};
        if (tensor.dtype != Dtype::kFloat64 && tensor.dtype != Dtype::kFloat32) throw NotPlain{"levels of 32 or 64 bits"};
        if (tensor.rank > 1 || (tensor.rank == 1 && tensor.shape[0] != batch)) throw NotPlain{"level fields [] or [B]"};
        any = true;
        each |= tensor.rank == 1 && batch != 1;
        one_[i] = 0.0;  // in range, for the check of the numbers
    }
    if (call.eager() && !in_range({one_[0], one_[1], one_[2], one_[3]})) throw NotPlain{"levels in range"};
    if (!any) {
        numbers_ = fields;
        return;
    }
    const std::int64_t count = each ? batch : 1;
    std::vector<double> values(4 * count);
    for (std::int64_t b = 0; b < count; ++b)
        for (int i = 0; i < 4; ++i) values[4 * b + i] = tensors[i].object ? value_at(tensors[i], b) : one_[i];
    take(std::move(values), each);
}

void LevelArgument::read_packed(const Call& call, py::handle packed, std::int64_t batch) {
    const TensorView view = call.read(packed);
    if (view.requires_grad || view.rank != 2 || view.shape[1] != 4 || view.dtype != Dtype::kFloat64)
        throw NotPlain{"levels as float64 [B, 4]"};
    const std::int64_t count = view.shape[0];
    if (count != 1 && count != batch)
        throw std::invalid_argument("a level must be given once or for each sample: wanted 1 or " + std::to_string(batch) +
                                    " of them, got " + std::to_string(count));
    std::vector<double> values(4 * count);
    for (std::int64_t b = 0; b < count; ++b)
        for (int i = 0; i < 4; ++i)
            values[4 * b + i] = static_cast<const double*>(view.data)[b * view.stride[0] + i * view.stride[1]];
    take(std::move(values), count != 1);
}

void LevelArgument::take(std::vector<double> values, bool each) {
    if (each) {
        each_ = std::move(values);
        one_for_all_ = false;
    } else {
        std::copy_n(values.begin(), 4, one_.begin());
    }
}

LevelArray LevelArgument::array() const {
    LevelArray levels;
    levels.data = one_for_all_ ? one_.data() : each_.data();
    levels.stride = one_for_all_ ? 0 : 4;
    return levels;
}

py::object LevelArgument::kept(const Call& call) const {
    if (numbers_) return py::reinterpret_borrow<py::object>(numbers_);
    const std::int64_t count = one_for_all_ ? 1 : static_cast<std::int64_t>(each_.size()) / 4;
    py::object packed = call.empty(py::make_tuple(count, 4), Dtype::kFloat64);
    std::copy_n(array().data, 4 * count, static_cast<double*>(Call::memory(packed)));
    return packed;
}

Rule to_rule(int code) {
    if (code < 0 || code > static_cast<int>(Rule::kCold))
        throw std::invalid_argument("unknown rule code " + std::to_string(code));
    return static_cast<Rule>(code);
}

Prediction to_prediction(py::handle name) {
    constexpr std::array<const char*, 4> kNames = {"x", "eps", "v", "mean"};  // in the order of Prediction
    if (PyUnicode_Check(name.ptr()))
        for (std::size_t i = 0; i < kNames.size(); ++i)
            if (PyUnicode_CompareWithASCIIString(name.ptr(), kNames[i]) == 0) return static_cast<Prediction>(i);
    throw NotPlain{"a prediction that they know"};
}

void check_levels(std::string_view name, std::string_view which, const LevelArray& levels, std::int64_t batch) {
    const std::int64_t count = levels.stride == 0 ? 1 : batch;
    for (std::int64_t b = 0; b < count; ++b) {
        const Level level = levels.at(b);
        if (in_range(level)) continue;
        const std::string prefix = std::string(name).append(which);
        if (!std::isfinite(level.log_a)) refuse(prefix, "log_a must be finite, got " + number(level.log_a), levels, b);
        if (!(std::isfinite(level.tau) && level.tau >= 0.0))
            refuse(prefix, "tau must be finite and >= 0, got " + number(level.tau), levels, b);
        if (!(std::isfinite(level.sigma) && level.sigma >= 0.0))
            refuse(prefix, "sigma must be finite and >= 0, got " + number(level.sigma), levels, b);
        refuse(prefix, "floor must be in [0, 1), got " + number(level.floor), levels, b);
    }
}

void check_step(std::string_view name, const LevelArray& s, const LevelArray& t, std::int64_t batch, Rule rule,
                Prediction prediction) {
    check_levels(name, ": s.", s, batch);
    check_levels(name, ": t.", t, batch);
    const LevelArray& counted = s.stride != 0 ? s : t;
    const std::int64_t count = counted.stride == 0 ? 1 : batch;
    for (std::int64_t b = 0; b < count; ++b) {
        const Level from = t.at(b), to = s.at(b);
        const auto refuse_pair = [&](const std::string& what, const char* field, double at_s, double at_t) {
            refuse(std::string(name) + ": ",
                   what + ", got " + field + "_s = " + number(at_s) + " and " + field + "_t = " + number(at_t), counted, b);
        };
        if (to.tau > from.tau * (1.0 + kSlack)) refuse_pair("s must not be blurrier than t", "tau", to.tau, from.tau);
        // The comparisons before the exponentials decide nearly always: an exponential takes as long as a small transform.
        if ((to.sigma > from.sigma || from.log_a > to.log_a) &&
            to.sigma * std::exp(from.log_a - to.log_a) > from.sigma * (1.0 + kSlack))
            refuse_pair("s must not be noisier than t", "sigma / a", to.sigma * std::exp(-to.log_a),
                        from.sigma * std::exp(-from.log_a));
        if ((to.tau > from.tau || from.floor > to.floor) && finest_gain(from) > finest_gain(to) * (1.0 + kSlack))
            refuse_pair("the floor of t must not let more detail through than s does", "floor", to.floor, from.floor);
        if (rule == Rule::kMomentum && to.sigma > from.sigma * (1.0 + kSlack))
            refuse_pair("the momentum rule needs sigma_s <= sigma_t", "sigma", to.sigma, from.sigma);
        if (prediction == Prediction::kEps && from.floor == 0.0 && from.tau > to.tau)
            refuse_pair(
                "prediction 'eps' needs a floor > 0 where the blur shrinks: without one blurred-out frequencies cannot be "
                "divided back",
                "tau", to.tau, from.tau);
        if (prediction == Prediction::kV && from.floor == 0.0 && from.tau > 0.0 && from.sigma == 0.0)
            refuse_pair("prediction 'v' needs sigma_t > 0 or a floor > 0", "sigma", to.sigma, from.sigma);
    }
}

}  // namespace softdiff

#include "levels.hpp"

#include <cmath>
#include <cstdio>
#include <stdexcept>

namespace softdiff {
namespace {

std::string number(double value) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.6g", value);
    return text.data();
}

[[noreturn]] void refuse(const std::string& prefix, const std::string& what, const LevelArray& levels, std::int64_t sample) {
    throw std::invalid_argument(prefix + what + (levels.stride == 0 ? "" : " (sample " + std::to_string(sample) + ")"));
}

// The blur gain at the highest frequency an image can have, lam = 2 pi^2: where a floor matters most.
double finest_gain(const Level& level) {
    constexpr double kLargestEigenvalue = 2.0 * 9.869604401089358;
    return (1.0 - level.floor) * std::exp(-kLargestEigenvalue * level.tau) + level.floor;
}

// Levels that mean the same may differ by rounding, say by having been computed in float32 at one place.
constexpr double kSlack = 1e-6;

}  // namespace

LevelArray LevelArgument::array(std::int64_t batch) const {
    if (count_ != 1 && count_ != batch)
        throw std::invalid_argument("a level must be given once or for each sample: wanted 1 or " + std::to_string(batch) +
                                    " of them, got " + std::to_string(count_));
    LevelArray levels;
    levels.data = pointer_ ? pointer_ : numbers_.data();
    levels.stride = count_ == 1 ? 0 : 4;
    return levels;
}

Rule to_rule(int code) {
    if (code < 0 || code > static_cast<int>(Rule::kCold))
        throw std::invalid_argument("unknown rule code " + std::to_string(code));
    return static_cast<Rule>(code);
}

Prediction to_prediction(int code) {
    if (code < 0 || code > static_cast<int>(Prediction::kMean))
        throw std::invalid_argument("unknown prediction code " + std::to_string(code));
    return static_cast<Prediction>(code);
}

void check_levels(const std::string& prefix, const LevelArray& levels, std::int64_t batch) {
    const std::int64_t count = levels.stride == 0 ? 1 : batch;
    for (std::int64_t b = 0; b < count; ++b) {
        const Level level = levels.at(b);
        if (!std::isfinite(level.log_a)) refuse(prefix, "log_a must be finite, got " + number(level.log_a), levels, b);
        if (!(std::isfinite(level.tau) && level.tau >= 0.0))
            refuse(prefix, "tau must be finite and >= 0, got " + number(level.tau), levels, b);
        if (!(std::isfinite(level.sigma) && level.sigma >= 0.0))
            refuse(prefix, "sigma must be finite and >= 0, got " + number(level.sigma), levels, b);
        if (!(level.floor >= 0.0 && level.floor < 1.0))
            refuse(prefix, "floor must be in [0, 1), got " + number(level.floor), levels, b);
    }
}

void check_step(const std::string& name, const LevelArray& s, const LevelArray& t, std::int64_t batch, Rule rule,
                Prediction prediction) {
    check_levels(name + ": s.", s, batch);
    check_levels(name + ": t.", t, batch);
    const LevelArray& counted = s.stride != 0 ? s : t;
    const std::int64_t count = counted.stride == 0 ? 1 : batch;
    for (std::int64_t b = 0; b < count; ++b) {
        const Level from = t.at(b), to = s.at(b);
        const auto refuse_pair = [&](const std::string& what, const char* field, double at_s, double at_t) {
            refuse(name + ": ", what + ", got " + field + "_s = " + number(at_s) + " and " + field + "_t = " + number(at_t),
                   counted, b);
        };
        if (to.tau > from.tau * (1.0 + kSlack)) refuse_pair("s must not be blurrier than t", "tau", to.tau, from.tau);
        if (to.sigma * std::exp(from.log_a - to.log_a) > from.sigma * (1.0 + kSlack))
            refuse_pair("s must not be noisier than t", "sigma / a", to.sigma * std::exp(-to.log_a),
                        from.sigma * std::exp(-from.log_a));
        if (finest_gain(from) > finest_gain(to) * (1.0 + kSlack))
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

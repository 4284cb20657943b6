// Levels as Python passes them, and the checks on their values.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <string>
#include <variant>

#include "../cpu/task.hpp"

namespace softdiff {

constexpr std::int64_t kMaxLine = 1 << 24;  // a side of an image: tables and positions are 32-bit

// Either the four numbers (log_a, tau, sigma, floor), or (pointer, count) of a float64 array [count, 4] with count 1 or B.
class LevelArgument {
  public:
    using Numbers = std::array<double, 4>;
    using Pointer = std::pair<std::uintptr_t, std::int64_t>;

    LevelArgument() = default;
    explicit LevelArgument(const Numbers& numbers) : numbers_(numbers) {}
    explicit LevelArgument(const Pointer& pointer)
        : pointer_(reinterpret_cast<const double*>(pointer.first)), count_(pointer.second) {}

    // Valid while this object lives. Throws std::invalid_argument if the count is neither 1 nor `batch`.
    LevelArray array(std::int64_t batch) const;

  private:
    Numbers numbers_{};
    const double* pointer_ = nullptr;
    std::int64_t count_ = 1;
};

Rule to_rule(int code);
Prediction to_prediction(int code);

// Throw std::invalid_argument where a value is out of range; the message begins with `prefix`, such as "diffuse: level." ...
void check_levels(const std::string& prefix, const LevelArray& levels, std::int64_t batch);
// ... or where no step leads from t to s under this rule with this prediction.
void check_step(const std::string& name, const LevelArray& s, const LevelArray& t, std::int64_t batch, Rule rule,
                Prediction prediction);

}  // namespace softdiff

namespace pybind11::detail {

template <>
struct type_caster<softdiff::LevelArgument> {
    PYBIND11_TYPE_CASTER(softdiff::LevelArgument, const_name("tuple[float, float, float, float] | tuple[int, int]"));

    bool load(handle source, bool /*convert*/) {
        if (!isinstance<tuple>(source)) return false;
        const auto items = reinterpret_borrow<tuple>(source);
        if (items.size() == 4) {
            value = softdiff::LevelArgument(source.cast<softdiff::LevelArgument::Numbers>());
        } else if (items.size() == 2) {
            value = softdiff::LevelArgument(source.cast<softdiff::LevelArgument::Pointer>());
        } else {
            return false;
        }
        return true;
    }
};

}  // namespace pybind11::detail

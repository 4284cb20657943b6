// Levels as Python passes them, and the checks on their values.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tensor.hpp"

namespace softdiff {

constexpr std::int64_t kMaxLine = 1 << 24;  // a side of an image: tables and positions are 32-bit

// A level as Python passes it: its four fields (log_a, tau, sigma, floor), each a number or a floating tensor that is 0-d or
// [B]; or, from a caller that answers for it, one float64 tensor [1 or B, 4]. Copied: nothing changes it while a kernel reads
// it.
class LevelArgument {
  public:
    // Throws NotPlain where a field is of another kind, a number out of its range (Python's own checks say so), or a gradient
    // is wanted of one.
    LevelArgument(const Call& call, pybind11::handle level, std::int64_t batch);

    LevelArray array() const;  // valid while this object lives and stays where it is
    // What an autograd graph may keep: the numbers, or one tensor.
    pybind11::object kept(const Call& call) const;

  private:
    pybind11::handle numbers_;  // the tuple, where every field is a number
    std::array<double, 4> one_{};
    std::vector<double> each_;  // [B, 4], unless one level serves the batch
    bool one_for_all_ = true;

    void read_fields(const Call& call, pybind11::handle fields, std::int64_t batch);
    void read_packed(const Call& call, pybind11::handle packed, std::int64_t batch);
    void take(std::vector<double> values, bool each);
};

Rule to_rule(int code);
Prediction to_prediction(pybind11::handle name);  // "x", "eps", "v" or "mean"; NotPlain for anything else

// Throw std::invalid_argument where a value is out of range; the message begins with name + which, "diffuse: level." or so ...
void check_levels(std::string_view name, std::string_view which, const LevelArray& levels, std::int64_t batch);
// ... or where no step leads from t to s under this rule with this prediction.
void check_step(std::string_view name, const LevelArray& s, const LevelArray& t, std::int64_t batch, Rule rule,
                Prediction prediction);

}  // namespace softdiff

// cos and sin of rational angles for tables built at run time, the argument reduced on integers.
#pragma once

#include <cmath>
#include <cstdint>

namespace softdiff {

constexpr double kPiValue = 3.14159265358979323846;

inline double cosine(std::int64_t p, std::int64_t q) {  // cos(pi p / q)
    return std::cos(kPiValue * static_cast<double>(p % (2 * q)) / static_cast<double>(q));
}
inline double sine(std::int64_t p, std::int64_t q) { return cosine(q - 2 * p, 2 * q); }

}  // namespace softdiff

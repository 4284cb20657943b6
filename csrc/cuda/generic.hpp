// The kernels of every size that square.hpp does not take. (To be filled by the line engine; entry.hpp calls these three.)
#pragma once

#include <stdexcept>

#include "mix.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class Storage, class Launcher>
void generic_combine(const CombineParams&, Launcher&) {
    throw std::logic_error("generic_combine");
}
template <class Storage, class Launcher>
void generic_transform(const cuda::Transform&, Launcher&) {
    throw std::logic_error("generic_transform");
}
// Per plane into `partial` [batch channels], in the type of the arithmetic.
template <class Storage, class Launcher>
void generic_energy(const cuda::Energy&, void* /*partial*/, Launcher&) {
    throw std::logic_error("generic_energy");
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

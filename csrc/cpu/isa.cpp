// The table of one instruction set; compiled once for each, with its SOFTDIFF_ISA, like kernels.cpp.
#include "kernels.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

#define SOFTDIFF_NAME(isa) #isa
#define SOFTDIFF_STRING(isa) SOFTDIFF_NAME(isa)

const Kernels& kernels() {
    static constexpr Kernels table = {
        SOFTDIFF_STRING(SOFTDIFF_ISA),
        {combine<float>, combine<double>},
        {transform<float>, transform<double>},
        {energy<float>, energy<double>},
        {correlation<float>, correlation<double>},
        {normal<float>, normal<double>},
        {coefficients<float>, coefficients<double>},
    };
    return table;
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

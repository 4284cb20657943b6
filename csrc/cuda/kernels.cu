// One operation, or those that are little code (SOFTDIFF_OPERATION), for one type of arithmetic (SOFTDIFF_ARITHMETIC):
// CMakeLists.txt compiles this file for each.
#include "entry.hpp"
#include "launcher.cuh"
#include "units.hpp"

#define SOFTDIFF_COMBINE 1
#define SOFTDIFF_TILES 2
#define SOFTDIFF_REST 3

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Every operation launches the kernel of tiles, which is compiled once.
#if SOFTDIFF_OPERATION == SOFTDIFF_TILES
#define SOFTDIFF_RUN_TILES template
#else
#define SOFTDIFF_RUN_TILES extern template
#endif
using Arithmetic = SOFTDIFF_ARITHMETIC;
SOFTDIFF_RUN_TILES void CudaLauncher::run<TileKernel<Arithmetic, false>>(const LaunchShape&, const TileParams<Arithmetic>&);
SOFTDIFF_RUN_TILES void CudaLauncher::run<TileKernel<Arithmetic, true>>(const LaunchShape&, const TileParams<Arithmetic>&);

}  // namespace SOFTDIFF_ISA

namespace cuda::units {

#if SOFTDIFF_OPERATION == SOFTDIFF_COMBINE

template <>
void combine<Arithmetic>(const Combine& task, const Place& place) {
    CudaLauncher launcher(place);
    run_combine<Arithmetic>(task, launcher);
}

#elif SOFTDIFF_OPERATION == SOFTDIFF_REST

template <>
void transform<Arithmetic>(const Transform& task, const Place& place) {
    CudaLauncher launcher(place);
    run_transform<Arithmetic>(task, launcher);
}

template <>
void energy<Arithmetic>(const Energy& task, const Place& place) {
    CudaLauncher launcher(place);
    run_energy<Arithmetic>(task, launcher);
}

template <>
void normal<Arithmetic>(const Normal& task, const Place& place) {
    CudaLauncher launcher(place);
    run_normal<Arithmetic>(task, launcher);
}

template <>
void coefficients<Arithmetic>(const Coefficients& task, const Place& place) {
    CudaLauncher launcher(place);
    run_coefficients<Arithmetic>(task, launcher);
}

#endif

}  // namespace cuda::units
}  // namespace softdiff

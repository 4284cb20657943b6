// One operation (SOFTDIFF_OPERATION) for one storage type (SOFTDIFF_STORAGE), or the kernel of tiles for one type of
// arithmetic: CMakeLists.txt compiles this file for each.
#include "entry.hpp"
#include "launcher.cuh"
#include "units.hpp"

#define SOFTDIFF_COMBINE 1
#define SOFTDIFF_TRANSFORM 2
#define SOFTDIFF_ENERGY 3
#define SOFTDIFF_TILES 4

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Every operation launches the kernel of tiles, which is compiled once.
#if SOFTDIFF_OPERATION == SOFTDIFF_TILES
#define SOFTDIFF_RUN_TILES(T, InGlobalMemory) \
    template void CudaLauncher::run<TileKernel<T, InGlobalMemory>>(const LaunchShape&, const TileParams<T>&);
SOFTDIFF_RUN_TILES(SOFTDIFF_STORAGE, false)
SOFTDIFF_RUN_TILES(SOFTDIFF_STORAGE, true)
#else
#define SOFTDIFF_RUN_TILES(T, InGlobalMemory) \
    extern template void CudaLauncher::run<TileKernel<T, InGlobalMemory>>(const LaunchShape&, const TileParams<T>&);
SOFTDIFF_RUN_TILES(float, false)
SOFTDIFF_RUN_TILES(float, true)
SOFTDIFF_RUN_TILES(double, false)
SOFTDIFF_RUN_TILES(double, true)
#endif

}  // namespace SOFTDIFF_ISA

namespace cuda::units {

#if SOFTDIFF_OPERATION == SOFTDIFF_COMBINE

template <>
void combine<SOFTDIFF_STORAGE>(const Combine& task, const Place& place) {
    CudaLauncher launcher(place);
    run_combine<SOFTDIFF_STORAGE>(task, launcher);
}

#elif SOFTDIFF_OPERATION == SOFTDIFF_TRANSFORM

template <>
void transform<SOFTDIFF_STORAGE>(const Transform& task, const Place& place) {
    CudaLauncher launcher(place);
    run_transform<SOFTDIFF_STORAGE>(task, launcher);
}

#elif SOFTDIFF_OPERATION == SOFTDIFF_ENERGY

template <>
void energy<SOFTDIFF_STORAGE>(const Energy& task, const Place& place) {
    CudaLauncher launcher(place);
    run_energy<SOFTDIFF_STORAGE>(task, launcher);
}

template <>
void normal<SOFTDIFF_STORAGE>(const Normal& task, const Place& place) {
    CudaLauncher launcher(place);
    run_normal<SOFTDIFF_STORAGE>(task, launcher);
}

#if defined(SOFTDIFF_HAS_MAPS)  // maps of coefficients are in the type of the arithmetic

template <>
void coefficients<SOFTDIFF_STORAGE>(const Coefficients& task, const Place& place) {
    CudaLauncher launcher(place);
    run_coefficients<SOFTDIFF_STORAGE>(task, launcher);
}

#endif
#endif

}  // namespace cuda::units
}  // namespace softdiff

#include "build_info.hpp"

#include <omp.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "../cpu/dispatch.hpp"
#if defined(SOFTDIFF_WITH_CUDA)
#include "../cuda/device.hpp"
#endif

namespace softdiff {

pybind11::dict build_info() {
    pybind11::dict info;
    info["version"] = SOFTDIFF_VERSION;
    info["compiler"] = std::string("g++ ") + __VERSION__;
    info["isa"] = active_kernels().isa;
    info["isas_available"] = available_isas();
    info["openmp"] = _OPENMP;
    info["openmp_max_threads"] = omp_get_max_threads();
#if defined(SOFTDIFF_WITH_CUDA)
    info["cuda_compiled"] = true;
    info["cuda_toolkit"] = SOFTDIFF_CUDA_VERSION;
    info["cuda_architectures"] = SOFTDIFF_CUDA_ARCHITECTURES;
    info["cuda_devices"] = cuda_device_names();
#else
    info["cuda_compiled"] = false;
    info["cuda_toolkit"] = "";
    info["cuda_architectures"] = "";
    info["cuda_devices"] = std::vector<std::string>{};
#endif
    return info;
}

}  // namespace softdiff

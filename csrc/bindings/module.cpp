// The Python module softdiff_ext._C, or the tests' module whose device is emulated. A kernel lets go of the GIL while it works,
// unless that takes longer than the work.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../cpu/dispatch.hpp"
#include "build_info.hpp"
#include "operators.hpp"
#include "tensor.hpp"
#if defined(SOFTDIFF_EMULATED)
#include "emulated.hpp"
#define SOFTDIFF_MODULE _emulated
#else
#define SOFTDIFF_MODULE _C
#endif

PYBIND11_MODULE(SOFTDIFF_MODULE, m) {
    using namespace softdiff;
    using pybind11::arg;
    m.doc() =
        "Native kernels of softdiff_ext. Use softdiff_ext.ops: these functions check what they need, not what people mean.";
    m.def("level_filter", &level_filter, arg("attach"), arg("prefix"), arg("x"), arg("noise"), arg("seed"), arg("level"),
          arg("power"), "V (alpha^power . V^T x) + sigma noise.");
    m.def("step", &step, arg("attach"), arg("name"), arg("output"), arg("z_t"), arg("noise"), arg("seed"), arg("s"), arg("t"),
          arg("rule"), arg("parameter"), arg("prediction"), "V (p . V^T output + q . V^T z_t + w . V^T noise).");
    m.def("filter_sum", &filter_sum, arg("attach"), arg("image0"), arg("gain0"), arg("image1"), arg("gain1"), arg("image2"),
          arg("gain2"), "V sum_i (gain_i . V^T image_i).");
    m.def("transform", &transform, arg("attach"), arg("x"), arg("ndim"), arg("inverse"),
          "Orthonormal DCT-II, or its inverse, over the last two dimensions (ndim 2), the last (1), or in place over the one "
          "before it (-2).");
    m.def("energy", &energy, arg("attach"), arg("a"), arg("b"), arg("level"), "Per sample: sum of (alpha . V^T (a - b))^2.");
    m.def("correlation", &correlation, arg("attach"), arg("x"), arg("y"), arg("sum_batch"), arg("sum_channels"),
          "(V^T x)(V^T y) per frequency, summed over the batch or the channels, or both.");
    m.def("normal", &fill_normal, arg("out"), arg("seed"), "Standard normal numbers, a function of seed and index only.");
    m.def("draw_device_seed", &draw_device_seed, arg("generator"), arg("device"),
          "A seed from a generator of a device: an int; a tensor there where a CUDA graph is captured.");
    m.def("step_coefficients", &fill_step_coefficients, arg("name"), arg("out"), arg("s"), arg("t"), arg("rule"),
          arg("parameter"), arg("prediction"), "p, q, w of a step as maps [B, 3, H, W].");
    m.def("check_level", &check_level_values, arg("prefix"), arg("batch"), arg("level"),
          "Raise ValueError where a level is out of range.");
    m.def("check_step", &check_step_values, arg("name"), arg("batch"), arg("s"), arg("t"), arg("rule"), arg("prediction"),
          "Raise ValueError where no step leads from t to s.");
    m.def("available_isas", &available_isas, "Instruction sets compiled in and present here, best first.");
    m.def("select_isa", &select_isa, arg("name"), "Use this instruction set from now on.");
    m.def("build_info", &build_info, "What was compiled in, and what is found here.");
    m.attr("cuda_compiled") = kHaveDevice;
#if defined(SOFTDIFF_EMULATED)
    define_emulator(m);
#endif
}

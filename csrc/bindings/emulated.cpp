#include "emulated.hpp"

#include <cstdint>

#include "../emulation/faults.hpp"
#include "../emulation/machine.hpp"

namespace py = pybind11;

namespace softdiff {
namespace {

py::dict report() {
    const emulation::Report& found = emulation::Machine::instance().report();
    py::dict numbers;
    numbers["races"] = found.races;
    numbers["uninitialised"] = found.uninitialised;
    numbers["out_of_bounds"] = found.out_of_bounds;
    numbers["unwritten"] = found.unwritten;
    numbers["launches"] = found.launches;
    numbers["blocks"] = found.blocks;
    numbers["barriers"] = found.barriers;
    numbers["reads"] = found.reads;
    numbers["writes"] = found.writes;
    numbers["first"] = found.first;
    py::list log;
    for (const emulation::Launch& launch : found.log)
        log.append(py::make_tuple(launch.kernel, launch.blocks, launch.threads, launch.shared_bytes, launch.barriers));
    numbers["log"] = log;
    return numbers;
}

}  // namespace

void define_emulator(py::module_& m) {
    m.def(
        "begin",
        [](std::uint64_t order_seed, int dropped_barrier, bool dry, int dropped_launch) {
            emulation::Machine::instance().begin(order_seed, dropped_barrier, dry, dropped_launch);
        },
        py::arg("order_seed") = 0, py::arg("dropped_barrier") = -1, py::arg("dry") = false, py::arg("dropped_launch") = -1,
        "A new report; threads in the order of a seed; one barrier left out, in one launch or in all of them; dry: launches "
        "are "
        "logged and not run.");
    m.def("run_fault", &emulation::run_fault, py::arg("name"),
          "Run a kernel that is wrong on purpose: does the report say so?");
    m.def("report", &report, "What the calls since `begin` did, and the first complaint in words.");
    define_plans(m);
}

}  // namespace softdiff

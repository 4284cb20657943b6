#include "dispatch.hpp"

#include <atomic>
#include <stdexcept>

namespace softdiff {

#if defined(SOFTDIFF_HAVE_NEON)
namespace neon {
const Kernels& kernels();
}
#else
inline namespace portable {  // this file is compiled as part of it
const Kernels& kernels();
}
#endif
#if defined(SOFTDIFF_HAVE_AVX2)
namespace avx2 {
const Kernels& kernels();
}
#endif
#if defined(SOFTDIFF_HAVE_AVX512)
namespace avx512 {
const Kernels& kernels();
}
#endif

namespace {

// Best first.
std::vector<const Kernels*> available() {
    std::vector<const Kernels*> found;
#if defined(SOFTDIFF_HAVE_AVX512)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        found.push_back(&avx512::kernels());
#endif
#if defined(SOFTDIFF_HAVE_AVX2)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
        found.push_back(&avx2::kernels());
#endif
#if defined(SOFTDIFF_HAVE_NEON)
    found.push_back(&neon::kernels());  // every aarch64 processor has it
#else
    found.push_back(&portable::kernels());
#endif
    return found;
}

const Kernels* find(const std::string& name) {
    std::string names;
    for (const Kernels* kernels : available()) {
        if (name == kernels->isa) return kernels;
        names += std::string(names.empty() ? "" : ", ") + kernels->isa;
    }
    throw std::invalid_argument("isa must be one of those available here (" + names + "), got " + name);
}

std::atomic<const Kernels*>& active() {
    static std::atomic<const Kernels*> kernels{available().front()};
    return kernels;
}

}  // namespace

const Kernels& active_kernels() { return *active().load(std::memory_order_relaxed); }

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Kernels* kernels : available()) names.emplace_back(kernels->isa);
    return names;
}

void select_isa(const std::string& name) { active() = find(name); }

}  // namespace softdiff

// Within its scope numbers below the normal range count as 0. Gains of strong blurs lead there, and a processor can take a
// hundred times as long over such a number; the state belongs to the thread and is put back.
#pragma once

#include <cstdint>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "../core/config.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

class FlushSubnormals {
  public:
    FlushSubnormals() : before_(get()) { set(before_ | kFlush); }
    ~FlushSubnormals() { set(before_); }
    FlushSubnormals(const FlushSubnormals&) = delete;
    FlushSubnormals& operator=(const FlushSubnormals&) = delete;

  private:
#if defined(__SSE__)
    using Control = unsigned;
    static constexpr Control kFlush = 0x8040;  // results to zero, operands to zero
    static Control get() { return _mm_getcsr(); }
    static void set(Control control) { _mm_setcsr(control); }
#elif defined(__aarch64__)
    using Control = std::uint64_t;
    static constexpr Control kFlush = std::uint64_t{1} << 24;
    static Control get() {
        Control control;
        asm volatile("mrs %0, fpcr" : "=r"(control));
        return control;
    }
    static void set(Control control) { asm volatile("msr fpcr, %0" : : "r"(control)); }
#else
    using Control = unsigned;
    static constexpr Control kFlush = 0;
    static Control get() { return 0; }
    static void set(Control) {}
#endif
    const Control before_;
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

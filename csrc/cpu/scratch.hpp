// One scratch block per thread, kept between calls while it is small, so that a call allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/config.hpp"

namespace softdiff {

constexpr std::size_t kScratchAlignment = 4096;
constexpr std::size_t kKeptScratch = std::size_t{8} << 20;  // larger blocks are given back when the call ends

// This thread's block of at least `bytes`; null when memory is out. Contents are what an earlier call left.
void* acquire_scratch(std::size_t bytes);
void release_scratch();

// Hands out aligned pieces of a block; with a null block it only adds up what will be needed.
class Arena {
  public:
    SOFTDIFF_INLINE explicit Arena(void* block) : block_(static_cast<char*>(block)) {}

    template <class T>
    SOFTDIFF_INLINE T* take(std::int64_t count) {
        char* piece = block_ ? block_ + used_ : nullptr;
        // One cache line beyond: pieces of a power-of-two size would otherwise compete for the same cache sets.
        used_ += (static_cast<std::size_t>(count) * sizeof(T) + 127) / 64 * 64;
        return reinterpret_cast<T*>(piece);
    }

    SOFTDIFF_INLINE std::size_t used() const { return used_; }

  private:
    char* block_;
    std::size_t used_ = 0;
};

}  // namespace softdiff

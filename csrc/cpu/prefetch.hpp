// Fetches memory into the cache a piece at a time, while something else is computed.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../core/config.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

class Prefetch {
  public:
    // Larger runs would push each other out of the level-2 cache before they are used.
    static constexpr std::int64_t kLargest = 256 << 10;

    // `bytes` at `data` that will be read or written, to come in `pieces` calls of next().
    void read(const void* data, std::int64_t bytes, int pieces) {
        if (bytes <= kLargest && reads_ < kReads) read_[reads_++] = run(data, bytes, pieces);
    }
    void write(void* data, std::int64_t bytes, int pieces) {
        if (bytes <= kLargest) write_ = run(data, bytes, pieces);
    }

    SOFTDIFF_INLINE void next() {
        for (int i = 0; i < reads_; ++i) next<0>(read_[i]);
        next<1>(write_);
    }

  private:
    static constexpr int kReads = 3;
    static constexpr std::int64_t kLine = 64;
    struct Run {
        const char* data = nullptr;
        std::int64_t left = 0, piece = 0;
    };
    Run read_[kReads], write_;
    int reads_ = 0;

    static Run run(const void* data, std::int64_t bytes, int pieces) {
        return {static_cast<const char*>(data), bytes, (bytes / pieces + kLine - 1) / kLine * kLine};
    }

    template <int Write>
    static SOFTDIFF_INLINE void next(Run& run) {
        const std::int64_t piece = std::min(run.piece, run.left);
        for (std::int64_t at = 0; at < piece; at += kLine) __builtin_prefetch(run.data + at, Write, 3);
        run.data += piece;
        run.left -= piece;
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

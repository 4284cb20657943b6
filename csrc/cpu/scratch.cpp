#include "scratch.hpp"

#include <cstdlib>

namespace softdiff {
namespace {

struct Block {
    void* memory = nullptr;
    std::size_t bytes = 0;

    Block() = default;
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    ~Block() { clear(); }

    void clear() {
        std::free(memory);
        memory = nullptr;
        bytes = 0;
    }
};

thread_local Block block;

}  // namespace

void* acquire_scratch(std::size_t bytes) {
    if (bytes > block.bytes) {
        block.clear();
        const std::size_t rounded = (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
        block.memory = std::aligned_alloc(kScratchAlignment, rounded);
        block.bytes = block.memory ? rounded : 0;
    }
    return block.memory;
}

void release_scratch() {
    if (block.bytes > kKeptScratch) block.clear();
}

}  // namespace softdiff

// The kernel of what square.hpp does not take: other sizes, float64, energies. A block has a tile (whole planes, or a panel of
// some columns or rows) for each transformed image, and carries out a short program, a phase a step: transforms along the
// columns or the rows of the tile (line_phases.hpp), and what stands before, between and after them. tile_program.hpp writes
// the programs. One kernel for all tasks, because each copy holds all codelets.
#pragma once

#include "tile_block.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T, bool InGlobalMemory>
struct TileKernel {
    using Params = TileParams<T>;
    static constexpr const char* kName = InGlobalMemory ? "tiles in global memory" : "tiles";
    // 80 registers a thread are enough for float32; for doubles, and with addresses of 64 bits, they are not.
    static constexpr int kMaxThreads = 256, kMinBlocks = sizeof(T) == sizeof(double) || InGlobalMemory ? 1 : 3;

    static constexpr int kMostPhases = 0;
    static SOFTDIFF_INLINE int phases(const Params& p) { return p.steps; }

    template <class Space>
    static SOFTDIFF_INLINE void phase(int i, const Params& p, Where where, typename Space::Shared shared) {
        const TileBlock<Space, T, InGlobalMemory> block(p, where, shared);
        const Step step = p.step[i];
        const LineTables<T>& line = p.line[step.axis];
        switch (step.operation) {
            case Operation::kGains: return block.gains(step.flag);
            case Operation::kNoise: return block.noise(step);
            case Operation::kMix: return block.mix(step);
            case Operation::kSquares: return block.squares(step);
            case Operation::kSum: return block.sum(step.level);
            case Operation::kStore: return block.store(step);
            case Operation::kStoreOutputs: return block.store_outputs(step);
            case Operation::kLoadOutputs: return block.load_outputs(step);
            case Operation::kJoinImage: return block.join_image(step);
            default: break;
        }
        for (int tile = 0; tile < step.tiles; ++tile) {
            const auto lines = block.lines(step, tile);
            switch (step.operation) {
                case Operation::kLoad: block.load(step, tile); break;
                case Operation::kSplitImage: block.split_image(step, tile); break;
                case Operation::kSplit: fold_tile<Space, false>(line, lines, where); break;
                case Operation::kJoin: fold_tile<Space, true>(line, lines, where); break;
                case Operation::kHalve: halve_nodes<Space>(line, lines, step.level, step.inverse, where); break;
                case Operation::kLeaves: codelet_leaves<Space>(line, lines, step.inverse, where); break;
                case Operation::kOddLeaves:
                    odd_leaves<Space>(line, lines, block.tile(1 - step.buffer, tile), p.pairs_apart[step.axis], step.inverse,
                                      where);
                    break;
                default: butterflies<Space>(line, lines, step.level, where);
            }
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

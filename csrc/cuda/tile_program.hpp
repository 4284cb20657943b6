// Writes the programs of tile_kernel.hpp and chooses tiles, threads and chunks: pure functions of the task, without a device.
//
//   whole planes     where the tiles of a plane fit into shared memory: one pass over memory
//   panels           else: columns, rows, columns through scratch memory
//   tiles in global  where not even a few lines fit into shared memory
#pragma once

#include <algorithm>
#include <stdexcept>

#include "tile_kernel.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr std::int64_t kGlobalTileBytes = 256 << 20;  // of all blocks of a launch together
constexpr std::int64_t kMostTileBytes = 32 << 20;  // of a block in global memory, where more than one line is to have a place
constexpr int kRoomySharedBytes = 72 * 1024;       // leaves place for three blocks in an SM of 228 KB
constexpr int kPanelLines = 32;
constexpr int kFewestPanelLines = 8;    // a quarter of a line of 128 bytes, what memory moves at once
constexpr int kEnoughBlocks = 256;      // to keep a GPU busy; smaller panels make more
constexpr int kShortLineValues = 4096;  // of a tile of rows that are shorter than kPanelLines
constexpr std::int64_t kMostBlocks = 1 << 30;

enum class Tiling { kWhole, kColumnPanels, kRowPanels };

// One launch, or one for each chunk: parameters without pointers, and what they rest on.
template <class T>
struct TilePass {
    TileParams<T> params{};
    Tiling tiling = Tiling::kWhole;
    bool in_global_memory = false;
    int threads = 0;
    std::int64_t panels = 1;                 // of a plane
    std::int64_t most_blocks = kMostBlocks;  // of a launch

    std::int64_t block_bytes() const { return params.block_values * static_cast<std::int64_t>(sizeof(T)); }
    LaunchShape shape(std::int64_t blocks) const {
        return {blocks, threads, in_global_memory ? 0 : static_cast<int>(block_bytes())};
    }
};

// What a pass needs besides its tiles.
struct TileNeeds {
    int tiles = 1;
    bool gains = false, noise_tile = false, sums = false;
};

template <class T>
class TileProgram {
  public:
    // height or width 0: that axis is not transformed in this pass, nor are its lines frequencies.
    TileProgram(TilePass<T>& pass, int tiles) : pass_(pass), tiles_(tiles) {}

    void add(Operation operation, int axis = kColumns, int level = 0, bool inverse = false, bool flag = false) {
        TileParams<T>& p = pass_.params;
        if (p.steps == kMaxSteps) throw std::logic_error("a tile program has too many steps");
        p.step[p.steps++] = {operation,
                             static_cast<unsigned char>(axis),
                             static_cast<unsigned char>(inverse),
                             static_cast<unsigned char>(level),
                             static_cast<unsigned char>(buffer_),
                             static_cast<unsigned char>(tiles_),
                             static_cast<unsigned char>(flag)};
    }
    void keep_first_tile() { tiles_ = 1; }

    // C2 along an axis, but for the last butterflies.
    void forward(int axis, bool from_image) {
        const LineTables<T>& line = pass_.params.line[axis];
        if (from_image) {
            add(line.radix > 1 ? Operation::kSplitImage : Operation::kLoad, axis);
        } else if (line.radix > 1) {
            add(Operation::kSplit, axis);
        }
        for (int level = 0; level < line.halvings; ++level) add(Operation::kHalve, axis, level);
        leaves(axis, false);
        for (int level = 0; level + 1 < line.levels; ++level) add(Operation::kButterflies, axis, level);
    }
    // C3, all after the last butterflies.
    void inverse(int axis, bool to_image) {
        const LineTables<T>& line = pass_.params.line[axis];
        for (int level = line.levels - 2; level >= 0; --level) add(Operation::kButterflies, axis, level);
        leaves(axis, true);
        for (int level = line.halvings - 1; level >= 0; --level) add(Operation::kHalve, axis, level, true);
        if (line.radix > 1) {
            add(to_image ? Operation::kJoinImage : Operation::kJoin, axis);
        } else if (to_image) {
            add(Operation::kStore, axis);
        }
    }
    void last_butterflies(int axis) {
        const LineTables<T>& line = pass_.params.line[axis];
        if (static_cast<int>(line.last_pairs.divisor) < line.size) add(Operation::kButterflies, axis, line.levels - 1);
    }

  private:
    TilePass<T>& pass_;
    int tiles_, buffer_ = 0;

    void leaves(int axis, bool inverse) {
        const LineTables<T>& line = pass_.params.line[axis];
        if (line.size <= 1) return;
        add(line.codelet ? Operation::kLeaves : Operation::kOddLeaves, axis, 0, inverse);
        if (!line.codelet) buffer_ = 1 - buffer_;
    }
};

namespace detail {

template <class T>
int leaf_pieces(const LineTables<T>& line, int lines) {
    if (line.size <= 1) return lines;
    return line.codelet ? lines * line.slots
                        : static_cast<int>(ceil_of(lines, kOddLines) * line.slots * odd_output_groups(line.leaf));
}

// Lays out the memory of a block for tiles of rows x columns.
template <class T>
void lay_out(TilePass<T>& pass, int rows, int columns, const TileNeeds& needs) {
    TileParams<T>& p = pass.params;
    p.rows = rows;
    p.columns = columns;
    // Rows of odd length keep neighbouring rows in different banks; panels of columns are never read along their rows alone.
    p.leading = pass.tiling == Tiling::kColumnPanels ? columns : columns | 1;
    p.rows_apart = Divider::of(rows);
    p.columns_apart = Divider::of(columns);
    p.pairs_apart[kColumns] = Divider::of(ceil_of(columns, kOddLines));
    p.pairs_apart[kRows] = Divider::of(ceil_of(rows, kOddLines));
    const std::int64_t run = pass.tiling == Tiling::kWhole && !needs.noise_tile ? std::int64_t{rows} * columns : columns;
    p.noise_items = Divider::of((ceil_of(run - 1, kNormalBlock) + 1) * kNormalLanes);

    const auto uses = [&](Tiling other, int axis) {  // whether the pass transforms along an axis by dense leaves
        return pass.tiling != other && p.line[axis].size > 1 && !p.line[axis].codelet;
    };
    const bool two_buffers = uses(Tiling::kRowPanels, kColumns) || uses(Tiling::kColumnPanels, kRows);
    p.tile_values = std::int64_t{rows} * p.leading;
    p.buffer_values = p.tile_values * std::max(needs.tiles, 1);
    p.tiles_at = needs.gains ? gain_table_values(rows, columns) : 0;
    p.noise_at = p.tiles_at + p.buffer_values * (two_buffers ? 2 : 1);
    p.sums_at = p.noise_at + (needs.noise_tile ? p.tile_values : 0);
    p.block_values = p.sums_at + (needs.sums ? TileKernel<T, false>::kMaxThreads + kSumThreads : 0);

    constexpr int kWarp = 32, kFewestThreads = 64;
    int pieces = 0;
    if (pass.tiling != Tiling::kRowPanels) pieces = std::max(pieces, leaf_pieces(p.line[kColumns], columns));
    if (pass.tiling != Tiling::kColumnPanels) pieces = std::max(pieces, leaf_pieces(p.line[kRows], rows));
    pass.threads =
        std::clamp(static_cast<int>(ceil_of(pieces, kWarp)) * kWarp, kFewestThreads, TileKernel<T, false>::kMaxThreads);
}

}  // namespace detail

// Sets the tiles of a pass whose params.line, height and width are set. `planes` are those of the whole task.
template <class T>
void choose_tiles(TilePass<T>& pass, Tiling tiling, std::int64_t planes, const TileNeeds& needs) {
    TileParams<T>& p = pass.params;
    pass.tiling = tiling;
    p.split_rows = tiling == Tiling::kRowPanels;
    p.whole = tiling == Tiling::kWhole;
    if (tiling == Tiling::kWhole) {
        detail::lay_out(pass, static_cast<int>(p.height), static_cast<int>(p.width), needs);
    } else {
        const std::int64_t all = p.split_rows ? p.height : p.width, length = p.split_rows ? p.width : p.height;
        const auto lay_out = [&](std::int64_t lines) {
            const auto across = static_cast<int>(std::min(lines, all)), along = static_cast<int>(length);
            detail::lay_out(pass, p.split_rows ? across : along, p.split_rows ? along : across, needs);
            pass.panels = ceil_of(all, across);
        };
        std::int64_t lines = kPanelLines;
        while (p.split_rows && 2 * lines * length <= kShortLineValues) lines *= 2;
        lay_out(lines);
        while (lines > kFewestPanelLines && (pass.block_bytes() > kRoomySharedBytes || planes * pass.panels < kEnoughBlocks))
            lay_out(lines /= 2);
        while (lines > 1 && pass.block_bytes() > kMaxSharedBytes) lay_out(lines /= 2);
        if (pass.block_bytes() > kMaxSharedBytes) {
            pass.in_global_memory = true;
            lines = kPanelLines;
            lay_out(lines);
            while (lines > 1 && pass.block_bytes() > kMostTileBytes) lay_out(lines /= 2);
            pass.most_blocks = std::max<std::int64_t>(1, kGlobalTileBytes / pass.block_bytes());
        }
    }
    p.panels = Divider::of(std::min(pass.panels, pass.most_blocks));
}

// Whether whole planes fit into shared memory.
template <class T>
bool fits_whole(TilePass<T> pass, const TileNeeds& needs) {
    const TileParams<T>& p = pass.params;
    if (p.height * p.width > kMaxSharedBytes) return false;
    detail::lay_out(pass, static_cast<int>(p.height), static_cast<int>(p.width), needs);
    return pass.block_bytes() <= kMaxSharedBytes;
}

// Planes that go through the passes together, by what may lie in between (Launcher::most_scratch_bytes).
inline std::int64_t planes_of_chunk(std::int64_t planes, std::int64_t plane_bytes, std::int64_t scratch_bytes) {
    return std::clamp<std::int64_t>(scratch_bytes / plane_bytes, 1, planes);
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// What a block of the tile kernel (tile_kernel.hpp) is told: its tile, its program, where it reads and writes.
#pragma once

#include "line_phases.hpp"
#include "mix.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

enum class Operation : unsigned char {
    kGains,         // constants and, where `flag`, the factors of the tile's rows and columns
    kLoad,          // images to tiles; minus the second where `level` is 1; with `flag` coefficients to their places
    kSplitImage,    // images to tiles through the first step of a transform
    kSplit,         // the same from tile to tile
    kHalve,         // a further level of it
    kLeaves,        // codelets
    kOddLeaves,     // dense leaves, from the tiles of `buffer` to the others
    kButterflies,   // of one level
    kStoreOutputs,  // columns: the last level, out of the tile
    kLoadOutputs,   // and into it
    kNoise,         // drawn noise: to its own tile where `flag` (coefficients), else into the first tile (pixels)
    kMix,           // rows: the last level, the gains, the last level back
    kSquares,       // rows: the last level, and the sum of the squares weighted by the gains
    kSum,           // of all threads, in two steps
    kJoin,          // the last step of an inverse transform in the tile
    kJoinImage,     // and out of it
    kStore,         // first tile to the result: with `flag` coefficients in natural order; pixel terms where `level` is 1
};

constexpr int kColumns = 0, kRows = 1;  // the axis of a step: its lines are columns, or rows

struct Step {
    Operation operation;
    unsigned char axis, inverse, level, buffer, tiles, flag;
};

constexpr int kMaxSteps = 64;

// A tensor that a launch reads or writes. The planes of a scratch tensor are those of a chunk.
struct Port {
    Image image;
    Dtype dtype;
    bool scratch;
};

template <class T>
struct TileParams {
    Step step[kMaxSteps];
    int steps;
    LineTables<T> line[2];  // of the columns (their length is the height), of the rows

    std::int64_t height, width;
    std::int64_t first_plane, first_panel;     // of the launch
    std::int64_t first_sample, first_channel;  // of its first plane
    bool one_sample;                           // all its planes are of that sample
    Divider channels_apart;
    std::int64_t scratch_plane;  // the first of the scratch tensors
    Divider panels;              // of a plane
    bool split_rows;             // a panel is some rows, not some columns
    bool whole;                  // the tile is a plane
    Port source[kTerms], out;

    int rows, columns, leading;                             // of a tile; values from row to row
    Divider rows_apart, columns_apart, pairs_apart[2];      // of rows, of columns; half of these, rounded up
    Divider noise_items;                                    // threads' worth of drawn numbers in a run of neighbouring elements
    std::int64_t tile_values, buffer_values, block_values;  // of a tile, of a buffer of tiles, of the memory of a block
    std::int64_t tiles_at, noise_at, sums_at;               // where they are in it; the tables of the gains are at 0

    CombineParams combine;
    int term_of[kTerms];  // of combine's terms, that of each tile
    T* partial;           // sums of squares, of each block
    T* memory;            // of all blocks, where a tile does not fit into shared memory
};

// Values of the tables in front of the tiles.
constexpr int kNumbers = kTerms + 1;
constexpr std::int64_t gain_table_values(int rows, int columns) {
    return kConstants + kNumbers + 3 * (std::int64_t{rows} + columns);
}

constexpr int kSumThreads = 16;

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

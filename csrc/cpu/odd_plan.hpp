// Tables of the transforms of odd length (odd.hpp explains the algorithm and its letters): plain data, the same for every
// instruction set. Their size is O(n) numbers, plus the dense matrices of the short factors.
#pragma once

#include <cstdint>

namespace softdiff {

constexpr int kMaxLeaf = 32;

// Leaves that exist as straight-line code (core/codelets.hpp); others follow odd.hpp.
constexpr bool has_codelet(int n) { return n >= 1 && (n <= 16 || (n <= kMaxLeaf && n % 2 == 0)); }

// Cosine and sine halves H_n that are straight-line code (half_codelet.hpp); other lengths follow a plan.
constexpr bool has_half_codelet(int n) { return n <= 13 || n == 15 || n == 21 || n == 25 || n == 27 || n == 35 || n == 45; }

// One table entry for four values of a grid, +-j1 and +-j2 (odd.hpp, product): where c and d of both index sums are, where the
// four symmetric combinations go, and the signs of the two d.
struct GridQuad {
    std::int32_t c_plus, c_minus, d_plus, d_minus;
    std::int32_t even_even, odd_odd, odd_even, even_odd;
};
struct GridMove {
    std::int32_t value, cell;
};
template <class T>
struct GridMap {
    int moves, quads;
    const GridMove* move;
    const T* move_sign;  // [moves]
    const GridQuad* quad;
    const T* quad_sign;  // [quads][2]
};

template <class T>
struct HalfDft;

// Multiplication of polynomials mod x^(r m) - 1 through mod x^m - e^(-2 pi i k / r), k < r.
template <class T>
struct Convolution {
    const HalfDft<T>* dft;  // of length r
    int m;
    const T* kernel;  // a Toeplitz matrix for each k, by its 2 m - 1 diagonals: real ones, then complex pairs
};

enum class HalfKind { kCodelet, kDense, kProduct, kRader };

// How H_n is computed. Values are in the order c[0] .. c[n/2], d[1] .. d[(n-1)/2].
template <class T>
struct HalfDft {
    int n;
    HalfKind kind;
    std::int64_t scratch;  // vectors

    // kDense: blocks of rows, block b starting at row min(b rows, all - rows): [block][column][row in block]
    const T* cosine_matrix;
    const T* sine_matrix;

    // kProduct: n = column length * row length
    const HalfDft* columns;
    const HalfDft* rows;
    GridMap<T> in, out;
    const T* twiddle;  // [columns: k1][rows: j2][cos, sin], null where the factors are coprime

    // kRader: n prime, h = (n-1)/2. Both convolutions of length h; or one of length h and a complex one of length h/2, where h
    // is even; or both of a length L >= 2 h - 1, padded with zeros. Arrays have the length h or L.
    Convolution<T> cosine, sine;
    bool twisted;               // h is even
    const std::int32_t* input;  // the index j of c[j], d[j] in the order of the group
    const std::int32_t* output;
    const T* cosine_factor;  // 1, or 0 for padding
    const T* input_factor;   // of d: signs, or rotations [h/2][4] where twisted
    const T* output_factor;
};

// A leaf that has no codelet: odd n, or an even n that is halved until it is odd or has a codelet (even_leaf.hpp).
template <class T>
struct OddPlan {
    int n;
    const HalfDft<T>* half;  // null for even n

    // C4 of odd n: inputs i and n-1-i to c[j] and d[j], j = 1 .. (n-1)/2, by four factors each; and back
    const std::int32_t* dct4_position;  // [(n-1)/2]: i
    const T* dct4_factor;               // [(n-1)/2][4]
    const std::int32_t* dct4_frequency;
    const T* dct4_output_factor;
    T dct4_middle;  // cos(pi n / 4): what output (n-1)/2 is of c[0]

    // Even n
    const OddPlan* halved;  // of n/2, null where that has a codelet
    const T* rotation;      // [n/2][2]: cos and sin of pi (2i+1) / 4n
};

// Cached for the life of the process. Throws std::bad_alloc only.
template <class T>
const OddPlan<T>& odd_plan(int n);

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Rows that a dense matrix is computed at a time, at most kMaxDenseRows, in blocks of equal size that may overlap: the same for
// the tables and the kernels.
constexpr int kMaxDenseRows = 12;
constexpr int dense_rows(int all) { return all == 0 ? 0 : ceil_div(all, ceil_div(all, kMaxDenseRows)); }

}  // namespace softdiff

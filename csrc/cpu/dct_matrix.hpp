// The orthonormal DCT-II of a short length as dense factors, for row_product.hpp. Built once for each length and cached.
#pragma once

#include <cstdint>

namespace softdiff {

// Lanes are outputs. Up to `lanes` outputs are one row of `plain` for each input. More are two halves that meet by symmetry,
// rows of one or two vectors in `even` and `odd`:
//
//   forward   even[i], i < (N+1)/2: what x[i] + x[N-1-i] is in the even outputs 0, 2, 4, ..
//             odd[i],  i < N/2:     what x[i] - x[N-1-i] is in the odd ones
//   inverse   even[k], k < (N+1)/2: what u[2k] is in outputs 0 .. lanes - 1, then in the `lanes` before (N+1)/2
//             odd[k],  k < N/2:     what u[2k+1] is in the same
//
// Outputs that do not exist have zeros.
template <class T>
struct DctMatrix {
    const T *plain, *even, *odd;
};

// For 1 <= size <= 4 lanes. Throws std::bad_alloc only. The reference stays valid for the life of the process.
template <class T>
const DctMatrix<T>& dct_matrix(std::int64_t size, std::int64_t lanes, bool inverse);

// cos(pi k m / size) / 2 for k < size and m < columns, a row for each k; likewise.
template <class T>
const T* half_cosines(std::int64_t size, std::int64_t columns);

}  // namespace softdiff

// The commonest small squares, filtered by a separable gain with every address a literal in the code: the steps of plane.hpp,
// but transposes and transforms of a block of rows become one straight run of instructions without a buffer between them.
#pragma once

#include "mix.hpp"
#include "plane.hpp"
#include "prefetch.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T, int N>
struct Square {
    using V = Vec<T>;
    using Code = Codelet<V, T, N>;
    static constexpr int L = kLanes<T>;
    static constexpr int kPanels = (N + L - 1) / L;
    static constexpr int kRows = kPanels * L;  // of a panel: whole blocks

    struct Columns {  // kLanes columns of an image with rows of N
        const T* data;
        SOFTDIFF_INLINE V operator[](int i) const { return load(data + i * N); }
    };
    struct ColumnsOut {
        T* data;
        SOFTDIFF_INLINE void put(int i, V value) const { store(data + i * N, value); }
    };

    static void filter(const T* x, const T* row, const T* column, Prefetch& prefetch, T* out, V* panels) {
        forward_columns(x, panels);
        for (int h = 0; h < kRows; h += L) {
            prefetch.next();
            filter_rows(panels + h, load(row + h), column);
        }
        inverse_columns(panels, out);
    }

  private:
    static constexpr int offset(int panel) { return panel * L < N - L ? panel * L : N - L; }

    [[gnu::noinline]] static void forward_columns(const T* __restrict x, V* __restrict panels) {
        for (int j = 0; j < kPanels; ++j) Code::dct2(Columns{x + offset(j)}, Values<V>{panels + j * kRows});
    }

    [[gnu::noinline]] static void inverse_columns(const V* __restrict panels, T* __restrict out) {
        for (int j = 0; j < kPanels; ++j) Code::dct3(Values<const V>{panels + j * kRows}, ColumnsOut{out + offset(j)});
    }

    [[gnu::noinline]] static void filter_rows(V* panels, V row, const T* column) {
        V line[N], weighted[N];
        SOFTDIFF_UNROLL
        for (int j = 0; j < kPanels; ++j) transpose_block<T>(panels + j * kRows, line + offset(j));
        Code::dct2(Values<V>{line}, Weighted<T>{weighted, row, column});
        // Keeps the compiler from mixing the two transforms: more live values than registers.
        asm volatile("" : : : "memory");
        Code::dct3(Values<V>{weighted}, Values<V>{line});
        SOFTDIFF_UNROLL
        for (int j = 0; j < kPanels; ++j) transpose_block<T>(line + offset(j), panels + j * kRows);
    }
};

// False, and nothing done, where there is no such square.
template <class T>
inline bool square_filter(const Plane<T>& plane, const StagedPlane<T>& image, const T* row, const T* column, Prefetch& prefetch,
                          T* out, std::ptrdiff_t out_stride, Vec<T>* panels) {
    if (plane.H != plane.W || image.row_stride != plane.W || out_stride != plane.W) return false;
    if constexpr (sizeof(T) == sizeof(float)) {
        switch (plane.W) {
            case 16: Square<T, 16>::filter(image.data, row, column, prefetch, out, panels); return true;
            case 28: Square<T, 28>::filter(image.data, row, column, prefetch, out, panels); return true;
            case 32: Square<T, 32>::filter(image.data, row, column, prefetch, out, panels); return true;
            default: break;
        }
    }
    return false;
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// The codelets of core/codelets.hpp as leaves of long lines, by length.
#pragma once

#include "../core/codelets.hpp"
#include "odd_plan.hpp"
#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// A leaf reads values `stride` elements of T apart (a column of an image, or a buffer of vectors) and writes a buffer, or back.
template <class T>
struct Leaf {
    void (*dct2)(const T* x, std::ptrdiff_t stride, Vec<T>* y);
    void (*dct3)(const Vec<T>* x, T* y, std::ptrdiff_t stride);
    void (*dct4)(const Vec<T>* x, Vec<T>* y);
    // x <- C3 (row_gain column_gain[k] C2 x): the whole middle stage of a short line in one function
    void (*filter)(Vec<T>* x, Vec<T> row_gain, const T* column_gain);
};

template <class T, int N>
struct CodeletLeaf {
    using V = Vec<T>;
    using Code = Codelet<V, T, N>;

    static void dct2(const T* x, std::ptrdiff_t stride, V* __restrict y) {
        V in[N], out[N];
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) in[i] = load(x + i * stride);
        Code::dct2(in, out);
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) y[i] = out[i];
    }
    static void dct3(const V* x, T* __restrict y, std::ptrdiff_t stride) {
        V in[N], out[N];
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) in[i] = x[i];
        Code::dct3(in, out);
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) store(y + i * stride, out[i]);
    }
    static void dct4(const V* x, V* __restrict y) {
        V in[N], out[N];
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) in[i] = x[i];
        Code::dct4(in, out);
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) y[i] = out[i];
    }
    static void filter(V* __restrict x, V row_gain, const T* __restrict column_gain) {
        V middle[N];
        {
            V in[N], out[N];
            SOFTDIFF_UNROLL
            for (int i = 0; i < N; ++i) in[i] = x[i];
            Code::dct2(in, out);
            SOFTDIFF_UNROLL
            for (int i = 0; i < N; ++i) middle[i] = out[i] * (row_gain * column_gain[i]);
        }
        // Keeps the compiler from mixing the two transforms: more live values than registers.
        asm volatile("" : : "r"(middle) : "memory");
        V in[N], out[N];
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) in[i] = middle[i];
        Code::dct3(in, out);
        SOFTDIFF_UNROLL
        for (int i = 0; i < N; ++i) x[i] = out[i];
    }
};

template <class T, int N>
constexpr Leaf<T> make_leaf() {
    if constexpr (has_codelet(N)) {
        using L = CodeletLeaf<T, N>;
        return {L::dct2, L::dct3, L::dct4, L::filter};
    } else {
        return {nullptr, nullptr, nullptr, nullptr};
    }
}

template <class T, int... N>
inline const Leaf<T>& find_leaf(int n, std::integer_sequence<int, N...>) {
    static constexpr Leaf<T> table[] = {make_leaf<T, N>()...};
    return table[n];
}
template <class T>
inline const Leaf<T>& find_leaf(int n) {
    return find_leaf<T>(n, std::make_integer_sequence<int, kMaxLeaf + 1>{});
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// The codelets of core/codelets.hpp as leaves of long lines, by length.
#pragma once

#include "../core/codelets.hpp"
#include "odd_plan.hpp"
#include "prefetch.hpp"
#include "simd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// A leaf reads values `stride` elements of T apart (a column of an image, or a buffer of vectors) and writes a buffer, or back.
template <class T>
struct Leaf {
    void (*dct2)(const T* x, std::ptrdiff_t stride, Vec<T>* y);
    void (*dct3)(const Vec<T>* x, T* y, std::ptrdiff_t stride);
    void (*dct4)(const Vec<T>* x, Vec<T>* y);
    // The same on buffers, with addresses that are literals in the code.
    void (*buffer_dct2)(const Vec<T>* x, Vec<T>* y);
    void (*buffer_dct3)(const Vec<T>* x, Vec<T>* y);
    // x <- C3 (row_gain column_gain[k] C2 x): the whole middle stage of a slot in one function
    void (*filter)(Vec<T>* x, Vec<T> row_gain, const T* column_gain);
};

// Views (core/codelets.hpp) of vectors in memory: neighbouring, or `stride` elements apart.
template <class T>
struct Strided {
    T* data;
    std::ptrdiff_t stride;
    SOFTDIFF_INLINE auto operator[](int i) const { return load(data + i * stride); }
    SOFTDIFF_INLINE void put(int i, Vec<std::remove_const_t<T>> value) const { store(data + i * stride, value); }
};

// The same of a column of an image, and what lies `ahead` elements further comes into the cache.
template <class T>
struct StridedAhead {
    static constexpr bool kAhead = true;
    T* data;
    std::ptrdiff_t stride, ahead;
    SOFTDIFF_INLINE auto operator[](int i) const {
        fetch_line<FetchFor::kRead>(data + i * stride + ahead);
        return load(data + i * stride);
    }
    SOFTDIFF_INLINE void put(int i, Vec<std::remove_const_t<T>> value) const {
        fetch_line<FetchFor::kWrite>(data + i * stride + ahead);
        store(data + i * stride, value);
    }
};

// Takes value k weighted by row_gain column_gain[k].
template <class T>
struct Weighted {
    Vec<T>* data;
    Vec<T> row_gain;
    const T* column_gain;
    SOFTDIFF_INLINE void put(int k, Vec<T> value) const { data[k] = value * (row_gain * column_gain[k]); }
};

template <class T, int N>
struct CodeletLeaf {
    using V = Vec<T>;
    using Code = Codelet<V, T, N>;

    static void dct2(const T* x, std::ptrdiff_t stride, V* __restrict y) {
        Code::dct2(Strided<const T>{x, stride}, Values<V>{y});
    }
    static void dct3(const V* x, T* __restrict y, std::ptrdiff_t stride) {
        Code::dct3(Values<const V>{x}, Strided<T>{y, stride});
    }
    static void dct4(const V* x, V* __restrict y) { Code::dct4(Values<const V>{x}, Values<V>{y}); }
    static void buffer_dct2(const V* x, V* __restrict y) { Code::dct2(Values<const V>{x}, Values<V>{y}); }
    static void buffer_dct3(const V* x, V* __restrict y) { Code::dct3(Values<const V>{x}, Values<V>{y}); }
    static void filter(V* __restrict x, V row_gain, const T* __restrict column_gain) {
        V middle[N];
        Code::dct2(Values<V>{x}, Weighted<T>{middle, row_gain, column_gain});
        // Keeps the compiler from mixing the two transforms: more live values than registers.
        asm volatile("" : : "r"(middle) : "memory");
        Code::dct3(Values<V>{middle}, Values<V>{x});
    }
};

template <class T, int N>
constexpr Leaf<T> make_leaf() {
    if constexpr (has_codelet(N)) {
        using L = CodeletLeaf<T, N>;
        return {L::dct2, L::dct3, L::dct4, L::buffer_dct2, L::buffer_dct3, L::filter};
    } else {
        return {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
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

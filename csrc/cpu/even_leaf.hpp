// Leaves without a codelet: odd lengths by odd.hpp; even ones, which only lines above 1024 have, halved in memory by the
// recursion of core/codelets.hpp until they are odd or have a codelet.
#pragma once

#include "leaf.hpp"
#include "odd.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
inline std::int64_t long_scratch(const OddPlan<T>& plan) {
    if (plan.half) return odd_scratch(plan);
    return 2 * static_cast<std::int64_t>(plan.n) + (plan.halved ? long_scratch(*plan.halved) : 0);
}

template <class T>
void long_dct2(const OddPlan<T>& plan, const T* x, std::ptrdiff_t stride, Vec<T>* y, Vec<T>* scratch);
template <class T>
void long_dct3(const OddPlan<T>& plan, const Vec<T>* x, T* y, std::ptrdiff_t stride, Vec<T>* scratch);
template <class T>
void long_dct4(const OddPlan<T>& plan, const Vec<T>* x, Vec<T>* y, Vec<T>* scratch);

// The transforms of length n/2 of an even leaf.
template <class T>
struct HalvedLeaf {
    using V = Vec<T>;
    const OddPlan<T>& plan;
    V* scratch;

    void dct2(const V* x, V* y) const {
        if (!plan.halved) return find_leaf<T>(plan.n / 2).dct2(reinterpret_cast<const T*>(x), kLanes<T>, y);
        long_dct2(*plan.halved, reinterpret_cast<const T*>(x), kLanes<T>, y, scratch);
    }
    void dct3(const V* x, V* y) const {
        if (!plan.halved) return find_leaf<T>(plan.n / 2).dct3(x, reinterpret_cast<T*>(y), kLanes<T>);
        long_dct3(*plan.halved, x, reinterpret_cast<T*>(y), kLanes<T>, scratch);
    }
    void dct4(const V* x, V* y) const {
        if (!plan.halved) return find_leaf<T>(plan.n / 2).dct4(x, y);
        long_dct4(*plan.halved, x, y, scratch);
    }
};

template <class T>
void long_dct2(const OddPlan<T>& plan, const T* x, std::ptrdiff_t stride, Vec<T>* y, Vec<T>* scratch) {
    if (plan.half) return odd_dct2(plan, x, stride, y, scratch);
    const int n = plan.n, half = n / 2;
    Vec<T>*sum = scratch, *difference = sum + half, *even = difference + half, *odd = even + half;
    const HalvedLeaf<T> halves{plan, scratch + 2 * n};
    for (int i = 0; i < half; ++i) {
        const Vec<T> p = load(x + i * stride), q = load(x + (n - 1 - i) * stride);
        sum[i] = p + q;
        difference[i] = p - q;
    }
    halves.dct2(sum, even);
    halves.dct4(difference, odd);
    for (int k = 0; k < half; ++k) {
        y[2 * k] = even[k];
        y[2 * k + 1] = odd[k];
    }
}

template <class T>
void long_dct3(const OddPlan<T>& plan, const Vec<T>* x, T* y, std::ptrdiff_t stride, Vec<T>* scratch) {
    if (plan.half) return odd_dct3(plan, x, y, stride, scratch);
    const int n = plan.n, half = n / 2;
    Vec<T>*even = scratch, *odd = even + half, *sum = odd + half, *difference = sum + half;
    const HalvedLeaf<T> halves{plan, scratch + 2 * n};
    for (int k = 0; k < half; ++k) {
        even[k] = x[2 * k];
        odd[k] = x[2 * k + 1];
    }
    halves.dct3(even, sum);
    halves.dct4(odd, difference);
    for (int i = 0; i < half; ++i) {
        store(y + i * stride, sum[i] + difference[i]);
        store(y + (n - 1 - i) * stride, sum[i] - difference[i]);
    }
}

template <class T>
void long_dct4(const OddPlan<T>& plan, const Vec<T>* x, Vec<T>* y, Vec<T>* scratch) {
    if (plan.half) return odd_dct4(plan, x, y, scratch);
    const int n = plan.n, half = n / 2;
    Vec<T>*a = scratch, *b = a + half, *low = b + half, *high = low + half;
    const HalvedLeaf<T> halves{plan, scratch + 2 * n};
    for (int i = 0; i < half; ++i) {
        const Vec<T> p = x[i], q = x[n - 1 - i];
        const T c = plan.rotation[2 * i], s = plan.rotation[2 * i + 1], sign = i % 2 == 0 ? T(1) : T(-1);
        a[i] = p * c + q * s;
        b[i] = (p * s - q * c) * sign;
    }
    halves.dct2(a, low);
    halves.dct2(b, high);
    y[0] = low[0];
    y[n - 1] = high[0];
    for (int k = 1; k < half; ++k) {
        y[2 * k - 1] = low[k] + high[half - k];
        y[2 * k] = low[k] - high[half - k];
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// H_n by its plan (odd.hpp explains the algorithm): codelets, dense halves, products of two lengths, Rader's convolutions.
#pragma once

#include <algorithm>

#include "convolution.hpp"
#include "half_codelet.hpp"
#include "toeplitz.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
inline void half_dft(const HalfDft<T>& plan, const Vec<T>* x, Vec<T>* y, Vec<T>* scratch);

// What surrounds H_n where it is applied to many columns: nothing, a fold before it, an unfold after it.
enum class Around { kNothing, kFold, kUnfold };

// For each column i < count: put(k, i, .) of H_n of get(j, i). Codelets in registers, others through `scratch`.
template <class T, int N, Around A, class Get, class Put>
SOFTDIFF_INLINE void half_codelets(int count, Get get, Put put) {
    using Code = HalfCodelet<Vec<T>, T, N>;
    for (int i = 0; i < count; ++i) {
        Vec<T> v[N];
        SOFTDIFF_UNROLL
        for (int j = 0; j < N; ++j) v[j] = get(j, i);
        if constexpr (A == Around::kFold) Code::fold(v);
        Code::transform(v);
        if constexpr (A == Around::kUnfold) Code::unfold(v);
        SOFTDIFF_UNROLL
        for (int k = 0; k < N; ++k) put(k, i, v[k]);
    }
}

template <class T, Around A, class Get, class Put>
SOFTDIFF_INLINE void half_dfts(const HalfDft<T>& plan, int count, Get get, Put put, Vec<T>* scratch) {
    const int n = plan.n, top = n / 2, sines = (n - 1) / 2;
    switch (n) {
        case 1: return half_codelets<T, 1, A>(count, get, put);
        case 2: return half_codelets<T, 2, A>(count, get, put);
        case 3: return half_codelets<T, 3, A>(count, get, put);
        case 4: return half_codelets<T, 4, A>(count, get, put);
        case 5: return half_codelets<T, 5, A>(count, get, put);
        case 6: return half_codelets<T, 6, A>(count, get, put);
        case 7: return half_codelets<T, 7, A>(count, get, put);
        case 8: return half_codelets<T, 8, A>(count, get, put);
        case 9: return half_codelets<T, 9, A>(count, get, put);
        case 10: return half_codelets<T, 10, A>(count, get, put);
        case 11: return half_codelets<T, 11, A>(count, get, put);
        case 12: return half_codelets<T, 12, A>(count, get, put);
        case 13: return half_codelets<T, 13, A>(count, get, put);
        case 15: return half_codelets<T, 15, A>(count, get, put);
        case 21: return half_codelets<T, 21, A>(count, get, put);
        case 25: return half_codelets<T, 25, A>(count, get, put);
        case 27: return half_codelets<T, 27, A>(count, get, put);
        case 35: return half_codelets<T, 35, A>(count, get, put);
        case 45: return half_codelets<T, 45, A>(count, get, put);
        default: break;
    }
    Vec<T>*in = scratch, *out = in + n, *rest = out + n;
    for (int i = 0; i < count; ++i) {
        if constexpr (A == Around::kFold) {
            in[0] = get(0, i);
            if (n % 2 == 0) in[top] = get(top, i);
            for (int j = 1; j <= sines; ++j) {
                const Vec<T> p = get(j, i), q = get(n - j, i);
                in[j] = p + q;
                in[top + j] = p - q;
            }
        } else {
            for (int j = 0; j < n; ++j) in[j] = get(j, i);
        }
        half_dft(plan, in, out, rest);
        if constexpr (A == Around::kUnfold) {
            put(0, i, out[0]);
            if (n % 2 == 0) put(top, i, out[top]);
            for (int j = 1; j <= sines; ++j) {
                put(j, i, out[j] + out[top + j]);
                put(n - j, i, out[j] - out[top + j]);
            }
        } else {
            for (int k = 0; k < n; ++k) put(k, i, out[k]);
        }
    }
}

// The uses of half_dfts. Each is compiled once for every codelet: hence never inlined, and as few as possible.

// Columns i of a grid: values j at [j stride + i step] of x, to the same places of y, which may be x.
template <class T>
[[gnu::noinline]] void transform_columns(const HalfDft<T>& plan, int count, const Vec<T>* x, Vec<T>* y, int stride, int step,
                                         Vec<T>* scratch) {
    half_dfts<T, Around::kNothing>(
        plan, count, [=](int j, int i) { return x[j * stride + i * step]; },
        [=](int k, int i, Vec<T> v) { y[k * stride + i * step] = v; }, scratch);
}

// Values of a group, in its order t = j m + i, to a grid [n][m] of frequencies; and back.
template <class T>
[[gnu::noinline]] void analyse(const HalfDft<T>& plan, int m, const Vec<T>* x, const std::int32_t* at, const T* sign,
                               Vec<T>* grid, Vec<T>* scratch) {
    half_dfts<T, Around::kFold>(
        plan, m, [=](int j, int i) { return x[at[j * m + i]] * sign[j * m + i]; },
        [=](int k, int i, Vec<T> v) { grid[k * m + i] = v; }, scratch);
}
template <class T>
[[gnu::noinline]] void synthesise(const HalfDft<T>& plan, int m, const Vec<T>* grid, const std::int32_t* at, const T* sign,
                                  Vec<T>* y, Vec<T>* scratch) {
    half_dfts<T, Around::kUnfold>(
        plan, m, [=](int j, int i) { return grid[j * m + i]; },
        [=](int k, int i, Vec<T> v) { y[at[k * m + i]] = v * sign[k * m + i]; }, scratch);
}

// The same for the real (factor offset 0) or imaginary part (2) of the twisted group: values t and t + n m, rotated.
template <class T>
[[gnu::noinline]] void analyse_twisted(const HalfDft<T>& plan, int m, const Vec<T>* x, const std::int32_t* at, const T* factor,
                                       Vec<T>* grid, Vec<T>* scratch) {
    const std::int32_t* second = at + plan.n * m;
    half_dfts<T, Around::kFold>(
        plan, m,
        [=](int j, int i) {
            const int t = j * m + i;
            return x[at[t]] * factor[4 * t] + x[second[t]] * factor[4 * t + 1];
        },
        [=](int k, int i, Vec<T> v) { grid[k * m + i] = v; }, scratch);
}
template <class T>
[[gnu::noinline]] void synthesise_part(const HalfDft<T>& plan, int m, Vec<T>* grid, Vec<T>* scratch) {
    half_dfts<T, Around::kUnfold>(
        plan, m, [=](int j, int i) { return grid[j * m + i]; }, [=](int k, int i, Vec<T> v) { grid[k * m + i] = v; }, scratch);
}

template <class T>
inline void dense_halves(const HalfDft<T>& plan, const Vec<T>* x, Vec<T>* y) {
    const int top = plan.n / 2;
    Vec<T> even = x[0], odd{};
    for (int j = 1; j < top; j += 2) {
        odd += x[j];
        even += x[j + 1];
    }
    if (top % 2 == 1) odd += x[top];
    y[0] = even + odd;
    dense(plan.cosine_matrix, top, x[0], x + 1, y + 1);
    dense(plan.sine_matrix, (plan.n - 1) / 2, Vec<T>{}, x + top + 1, y + top + 1);
}

template <class T>
inline void product(const HalfDft<T>& plan, const Vec<T>* x, Vec<T>* y, Vec<T>* scratch) {
    using V = Vec<T>;
    const int a = plan.columns->n, b = plan.rows->n;
    V *grid = scratch, *rest = scratch + plan.n;
    for (int i = 0; i < plan.in.moves; ++i) grid[plan.in.move[i].cell] = x[plan.in.move[i].value] * plan.in.move_sign[i];
    for (int i = 0; i < plan.in.quads; ++i) {
        const GridQuad& at = plan.in.quad[i];
        const V c_plus = x[at.c_plus], c_minus = x[at.c_minus];
        const V d_plus = x[at.d_plus] * plan.in.quad_sign[2 * i], d_minus = x[at.d_minus] * plan.in.quad_sign[2 * i + 1];
        grid[at.even_even] = c_plus + c_minus;
        grid[at.odd_odd] = c_plus - c_minus;
        grid[at.odd_even] = d_plus + d_minus;
        grid[at.even_odd] = d_plus - d_minus;
    }
    transform_columns(*plan.columns, b, grid, grid, b, 1, rest);
    if (plan.twiddle) {
        const T* factor = plan.twiddle;
        for (int k1 = 1; k1 <= a / 2; ++k1)
            for (int j2 = 1; j2 <= b / 2; ++j2, factor += 2) {
                V *c = grid + k1 * b + j2, *s = c + (a / 2) * b;
                const V even_even = c[0], even_odd = c[b / 2], odd_even = s[0], odd_odd = s[b / 2];
                c[0] = even_even * factor[0] - odd_odd * factor[1];
                s[b / 2] = even_even * factor[1] + odd_odd * factor[0];
                s[0] = odd_even * factor[0] + even_odd * factor[1];
                c[b / 2] = even_odd * factor[0] - odd_even * factor[1];
            }
    }
    transform_columns(*plan.rows, a, grid, grid, 1, b, rest);
    for (int i = 0; i < plan.out.moves; ++i) y[plan.out.move[i].value] = grid[plan.out.move[i].cell] * plan.out.move_sign[i];
    for (int i = 0; i < plan.out.quads; ++i) {
        const GridQuad& at = plan.out.quad[i];
        const V even_even = grid[at.even_even], odd_odd = grid[at.odd_odd];
        const V odd_even = grid[at.odd_even], even_odd = grid[at.even_odd];
        y[at.c_plus] = even_even - odd_odd;
        y[at.c_minus] = even_even + odd_odd;
        y[at.d_plus] = (odd_even + even_odd) * plan.out.quad_sign[2 * i];
        y[at.d_minus] = (odd_even - even_odd) * plan.out.quad_sign[2 * i + 1];
    }
}

// The sine half first: padding of either half is written to index 0, which the other half or the sum then overwrites.
template <class T>
inline void rader(const HalfDft<T>& plan, const Vec<T>* x, Vec<T>* y, Vec<T>* scratch) {
    using V = Vec<T>;
    const int top = plan.n / 2, half = top / 2;
    const HalfDft<T>&cosine = *plan.cosine.dft, &sine = *plan.sine.dft;
    const int length = plan.twisted ? std::max(top, cosine.n * plan.cosine.m) : cosine.n * plan.cosine.m;
    V *grid = scratch, *result = grid + length, *rest = result + length;

    const V* d = x + top;
    V* s = y + top;
    const int m = plan.sine.m;
    if (plan.twisted) {
        V *re = result, *im = result + half;
        analyse_twisted(sine, m, d, plan.input, plan.input_factor, grid, rest);
        analyse_twisted(sine, m, d, plan.input, plan.input_factor + 2, grid + half, rest);
        with_small_size(m, [&](auto size) { multiply_complex<T, size>(plan.sine, grid, grid + half, re, im, rest); });
        synthesise_part(sine, m, re, rest);
        synthesise_part(sine, m, im, rest);
        const T* factor = plan.output_factor;
        for (int t = 0; t < half; ++t, factor += 4) {
            s[plan.output[t]] = re[t] * factor[0] + im[t] * factor[1];
            s[plan.output[t + half]] = re[t] * factor[2] + im[t] * factor[3];
        }
    } else {
        analyse(sine, m, d, plan.input, plan.input_factor, grid, rest);
        with_small_size(m, [&](auto size) { multiply_real<T, size>(plan.sine, V{}, grid, result); });
        synthesise(sine, m, result, plan.output, plan.output_factor, s, rest);
    }

    analyse(cosine, plan.cosine.m, x, plan.input, plan.cosine_factor, grid, rest);
    V sum = x[0];
    for (int i = 0; i < plan.cosine.m; ++i) sum += grid[i];
    with_small_size(plan.cosine.m, [&](auto size) { multiply_real<T, size>(plan.cosine, x[0], grid, result); });
    synthesise(cosine, plan.cosine.m, result, plan.output, plan.cosine_factor, y, rest);
    y[0] = sum;
}

// y may not overlap x.
template <class T>
inline void half_dft(const HalfDft<T>& plan, const Vec<T>* x, Vec<T>* y, Vec<T>* scratch) {
    switch (plan.kind) {
        case HalfKind::kDense: return dense_halves(plan, x, y);
        case HalfKind::kProduct: return product(plan, x, y, scratch);
        case HalfKind::kRader: return rader(plan, x, y, scratch);
        default: break;
    }
    transform_columns(plan, 1, x, y, 1, 0, scratch);
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

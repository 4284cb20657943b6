// Residues modulo n and their Fourier transform, for the tables of odd_plan.cpp.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

#include "angle.hpp"

namespace softdiff {

// j mod n as an index of c and d, and the sign of d there: c[-j] = c[j], d[-j] = -d[j].
struct Folded {
    int index;
    int sign;
};
inline Folded fold(std::int64_t j, int n) {
    const int k = static_cast<int>(((j % n) + n) % n);
    return 2 * k > n ? Folded{n - k, -1} : Folded{k, 1};
}

inline int inverse_modulo(int a, int n) {
    for (int b = 1; b < n; ++b)
        if (static_cast<std::int64_t>(a) * b % n == 1) return b;
    return 1;  // n = 1
}

// The powers 1, g, g^2, .. of a primitive root g of a prime p.
inline std::vector<int> powers_of_primitive_root(int p) {
    for (std::int64_t g = 2;; ++g) {
        std::vector<int> powers{1};
        for (std::int64_t power = g % p; power != 1; power = power * g % p) powers.push_back(static_cast<int>(power));
        if (static_cast<int>(powers.size()) == p - 1) return powers;
    }
}

using Complex = std::complex<double>;

// sum_j x[j] e^(-2 pi i j k / n), by the smallest factor of n at a time.
inline std::vector<Complex> dft(const std::vector<Complex>& x) {
    const int n = static_cast<int>(x.size());
    if (n == 1) return x;
    int parts = 2;
    while (n % parts != 0) ++parts;
    const int length = n / parts;
    std::vector<Complex> roots(n), y(n);
    for (int k = 0; k < n; ++k) roots[k] = {cosine(2LL * k, n), -sine(2LL * k, n)};
    for (int part = 0; part < parts; ++part) {
        std::vector<Complex> values(length);
        for (int i = 0; i < length; ++i) values[i] = x[i * parts + part];
        if (length > 1) values = dft(values);
        for (int k = 0; k < n; ++k) y[k] += values[k % length] * roots[static_cast<std::int64_t>(part) * k % n];
    }
    return y;
}

}  // namespace softdiff

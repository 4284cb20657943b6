#include "odd_choice.hpp"

#include <numeric>

namespace softdiff {
namespace {

// Cycles with 512-bit vectors, fitted to measurements on Zen 5: two multiply-adds a cycle less what loads cost, one store a
// cycle.
constexpr double kMultiplyAdd = 0.55;
constexpr double kDenseCall = 60;
constexpr double kRaderCalls = 250;
constexpr double kNestedRader = 2;  // on the cycles of one inside another: each level multiplies the rounding by 1.4
constexpr double kPadding = 1.3;    // twice the memory, beyond the first cache
constexpr double kPass = 1.2;       // of a value through a loop that loads, adds and stores it

bool is_prime(int n) {
    for (int d = 2; d * d <= n; ++d)
        if (n % d == 0) return false;
    return n > 1;
}

bool is_smooth(int n) {
    for (int d : {3, 5, 7, 11, 13})
        while (n % d == 0) n /= d;
    return n == 1;
}

}  // namespace

const Choice& Choices::of(int n) {
    const auto found = known_.find(n);
    if (found != known_.end()) return found->second;
    const Choice choice = best(n);
    return known_[n] = choice;
}

Choice Choices::best(int n) {
    const int half = n / 2;
    Choice choice;
    if (has_half_codelet(n)) {
        choice.cycles = n <= 13 ? kMultiplyAdd * (n % 2 == 0 ? 1 : 2) * half * half + n * kPass : n * (2 + n / 9.0);
        return choice;
    }
    choice.kind = HalfKind::kDense;
    choice.cycles = kMultiplyAdd * 2 * half * half + n * kPass + kDenseCall;
    consider_products(n, choice);
    if (is_prime(n)) consider_rader(n, choice);
    return choice;
}

// H_n of `count` columns, with `around` more passes for what surrounds it.
double Choices::many(int n, int count, double around) {
    const double copies = has_half_codelet(n) ? 0 : 2;
    const double spills = has_half_codelet(n) && n > 13 && around > 0 ? 2 * n : 0;
    return count * (of(n).cycles + n * (around + copies) * kPass + spills);
}

void Choices::consider_products(int n, Choice& best) {
    for (int a = 2; a < n; ++a) {
        const int b = n / a;
        if (n % a != 0 || (std::gcd(a, b) > 1 && n % 2 == 0)) continue;
        const double twiddles = std::gcd(a, b) > 1 ? n * 1.5 * kPass : 0;
        const double cycles = 2 * n * kPass + many(a, b, 0) + many(b, a, 0) + twiddles;
        if (cycles < best.cycles) best = {cycles, HalfKind::kProduct, a, 0, 0};
    }
}

void Choices::consider_rader(int n, Choice& best) {
    const int half = (n - 1) / 2;
    const bool twisted = half % 2 == 0;
    const auto convolution = [this](int length, bool complex, int& dft) {
        double least = 0;
        dft = 0;
        for (int r = 1; r <= length; ++r) {
            if (length % r != 0) continue;
            const int m = length / r;
            const double blocks = kMultiplyAdd * length * m, rows = kPass * length;
            const double dfts = many(r, m, 0.5) * (of(r).kind == HalfKind::kRader ? kNestedRader : 1);
            const double cycles = complex ? 4 * dfts + 4 * blocks + 4 * rows : 2 * dfts + 2 * blocks + rows;
            if (dft == 0 || cycles < least) {
                least = cycles;
                dft = r;
            }
        }
        return least;
    };
    int cosine = 0, sine = 0;
    const double cycles = kRaderCalls + convolution(half, false, cosine) +
                          (twisted ? convolution(half / 2, true, sine) + half * kPass : convolution(half, false, sine));
    if (cycles < best.cycles) best = {cycles, HalfKind::kRader, cosine, sine, 0};
    if (twisted) return;
    for (int length = 2 * half - 1; length <= 5 * half / 2; length += 2) {
        if (!is_smooth(length)) continue;
        const double padded = kRaderCalls + kPadding * (4 * many(length, 1, 1) + 2 * length * kPass);
        if (padded < best.cycles) best = {padded, HalfKind::kRader, length, length, length};
    }
}

}  // namespace softdiff

#include "odd_plan.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "angle.hpp"
#include "odd_choice.hpp"
#include "residues.hpp"

namespace softdiff {
namespace {

template <class T>
class Planner {
  public:
    const OddPlan<T>& plan(int n) {
        const std::scoped_lock lock(mutex_);
        return *find(n);
    }

  private:
    std::mutex mutex_;
    Choices choices_;
    std::map<int, OddPlan<T>> plans_;
    std::map<int, HalfDft<T>> halves_;
    std::deque<std::vector<T>> numbers_;
    std::deque<std::vector<std::int32_t>> indices_;
    std::deque<std::vector<GridMove>> moves_;
    std::deque<std::vector<GridQuad>> quads_;

    const OddPlan<T>* find(int n) {
        const auto found = plans_.find(n);
        if (found != plans_.end()) return &found->second;
        OddPlan<T> plan{};
        plan.n = n;
        if (n % 2 == 1) {
            plan.half = half(n);
            add_dct4(plan);
        } else {
            plan.halved = has_codelet(n / 2) ? nullptr : find(n / 2);
            std::vector<double> rotation;
            for (int i = 0; i < n / 2; ++i)
                for (double factor : {cosine(2 * i + 1, 4LL * n), sine(2 * i + 1, 4LL * n)}) rotation.push_back(factor);
            plan.rotation = keep(rotation);
        }
        return &(plans_[n] = plan);
    }

    const T* keep(const std::vector<double>& values) { return numbers_.emplace_back(values.begin(), values.end()).data(); }
    const std::int32_t* keep(std::vector<std::int32_t> values) { return indices_.emplace_back(std::move(values)).data(); }

    const HalfDft<T>* half(int n) {
        const auto found = halves_.find(n);
        if (found != halves_.end()) return &found->second;
        HalfDft<T> plan{};
        plan.n = n;
        plan.kind = choices_.of(n).kind;
        switch (plan.kind) {
            case HalfKind::kCodelet: break;
            case HalfKind::kDense: add_dense(plan); break;
            case HalfKind::kProduct: add_product(plan, choices_.of(n).columns); break;
            case HalfKind::kRader: add_rader(plan, choices_.of(n)); break;
        }
        return &(halves_[n] = plan);
    }

    // What a plan of many columns needs beside its own buffers.
    static std::int64_t columns_scratch(const HalfDft<T>& plan) {
        return plan.kind == HalfKind::kCodelet ? 0 : 2 * static_cast<std::int64_t>(plan.n) + plan.scratch;
    }

    template <class Entry>
    const T* packed_matrix(int size, Entry entry) {
        std::vector<double> packed;
        const int rows = dense_rows(size);
        for (int block = 0; block * rows < size; ++block)
            for (int j = 1; j <= size; ++j)
                for (int k = 1; k <= rows; ++k) packed.push_back(entry(std::min(block * rows, size - rows) + k, j));
        return keep(packed);
    }

    void add_dense(HalfDft<T>& plan) {
        const std::int64_t n = plan.n;
        plan.cosine_matrix = packed_matrix(plan.n / 2, [n](int k, int j) { return cosine(2LL * j * k, n); });
        plan.sine_matrix = packed_matrix((plan.n - 1) / 2, [n](int k, int j) { return sine(2LL * j * k, n); });
    }

    void add_product(HalfDft<T>& plan, int a) {
        const int n = plan.n, b = n / a;
        plan.columns = half(a);
        plan.rows = half(b);
        plan.scratch = n + std::max(columns_scratch(*plan.columns), columns_scratch(*plan.rows));
        if (std::gcd(a, b) == 1) {
            plan.in = grid_map(n, a, b, a);
            plan.out = grid_map(n, a, static_cast<std::int64_t>(b) * inverse_modulo(b, a),
                                static_cast<std::int64_t>(a) * inverse_modulo(a, b));
            return;
        }
        plan.in = grid_map(n, a, b, 1);
        plan.out = grid_map(n, a, 1, a);
        std::vector<double> twiddle;
        for (std::int64_t k = 1; k <= a / 2; ++k)
            for (std::int64_t j = 1; j <= b / 2; ++j)
                for (double factor : {cosine(2 * j * k, n), sine(2 * j * k, n)}) twiddle.push_back(factor);
        plan.twiddle = keep(twiddle);
    }

    // The map of index u j1 + v j2 (mod n) to cell (j1, j2) of the grid.
    GridMap<T> grid_map(int n, int a, std::int64_t u, std::int64_t v) {
        const int b = n / a;
        std::vector<double> move_sign, quad_sign;
        auto& moves = moves_.emplace_back();
        auto& quads = quads_.emplace_back();
        for (int j1 = 0; j1 <= a / 2; ++j1) {
            for (int j2 = 0; j2 <= b / 2; ++j2) {
                const bool real1 = j1 == 0 || 2 * j1 == a, real2 = j2 == 0 || 2 * j2 == b;  // -j is j: no sine
                const Folded plus = fold(u * j1 + v * j2, n), minus = fold(u * j1 - v * j2, n);
                const int c = j1 * b + j2, s = (a / 2 + j1) * b + j2;
                if (!real1 && !real2) {
                    quads.push_back(
                        {plus.index, minus.index, n / 2 + plus.index, n / 2 + minus.index, c, s + b / 2, s, c + b / 2});
                    quad_sign.push_back(plus.sign);
                    quad_sign.push_back(minus.sign);
                    continue;
                }
                moves.push_back({plus.index, c});
                move_sign.push_back(1);
                if (real1 && real2) continue;
                moves.push_back({n / 2 + plus.index, real1 ? c + b / 2 : s});
                move_sign.push_back(plus.sign);
            }
        }
        return {static_cast<int>(moves.size()),
                static_cast<int>(quads.size()),
                moves.data(),
                keep(move_sign),
                quads.data(),
                keep(quad_sign)};
    }

    void add_rader(HalfDft<T>& plan, const Choice& choice) {
        const int p = plan.n, h = (p - 1) / 2, length = choice.padded > 0 ? choice.padded : h;
        const std::vector<int> power = powers_of_primitive_root(p);
        std::vector<std::int32_t> input(length), output(length);
        std::vector<double> present(length), in(length), out(length);
        std::vector<Complex> cosine_kernel(length), sine_kernel(length);
        plan.twisted = h % 2 == 0;
        for (int t = 0; t < h; ++t) {
            const Folded from = fold(power[(p - 1 - t) % (p - 1)], p), to = fold(power[t], p);
            // h odd: x^h + 1 becomes x^h - 1 when the sign of every second value changes.
            const int alternate = !plan.twisted && t % 2 == 1 ? -1 : 1;
            input[t] = from.index;
            output[t] = to.index;
            present[t] = 1;
            in[t] = from.sign * alternate;
            out[t] = to.sign * alternate;
            cosine_kernel[t] = cosine(2LL * power[t], p);
            sine_kernel[t] = sine(2LL * power[t], p) * alternate;
        }
        if (choice.padded > 0) {  // s - t runs from 1 - h to h - 1
            for (int t = 1; t < h; ++t) {
                cosine_kernel[length - t] = cosine_kernel[h - t];
                sine_kernel[length - t] = sine_kernel[h - t];
            }
        }
        if (plan.twisted) twist(h, in, out, sine_kernel);
        plan.input = keep(input);
        plan.output = keep(output);
        plan.cosine_factor = keep(present);
        plan.input_factor = keep(in);
        plan.output_factor = keep(out);
        plan.cosine = convolution(cosine_kernel, choice.columns, false);
        plan.sine = convolution(sine_kernel, choice.sine_dft, plan.twisted);
        const std::int64_t products = 8LL * plan.sine.m;
        plan.scratch = 2LL * length + std::max({columns_scratch(*plan.cosine.dft), columns_scratch(*plan.sine.dft), products});
    }

    // x^h + 1 with even h: v[t] + i v[t + h/2], mod x^(h/2) - i, times e^(i pi t / h), which makes it mod x^(h/2) - 1.
    static void twist(int h, std::vector<double>& in, std::vector<double>& out, std::vector<Complex>& kernel) {
        const int half = h / 2;
        std::vector<double> in_rotation, out_rotation;
        for (int t = 0; t < half; ++t) {
            const double c = cosine(t, h), s = sine(t, h);
            for (double factor : {in[t] * c, -in[t + half] * s, in[t] * s, in[t + half] * c}) in_rotation.push_back(factor);
            for (double factor : {out[t] * c, out[t] * s, -out[t + half] * s, out[t + half] * c})
                out_rotation.push_back(factor);
            kernel[t] = Complex(kernel[t].real(), kernel[t + half].real()) * Complex(c, s);
        }
        kernel.resize(half);
        in = std::move(in_rotation);
        out = std::move(out_rotation);
    }

    // The kernel's blocks in the order of Convolution: real ones k = 0, r/2, then complex k = 1, 2, ..; of complex values all
    // are complex, k and r - k together. The weights of the inverse DFT are theirs.
    Convolution<T> convolution(const std::vector<Complex>& kernel, int r, bool complex) {
        const int m = static_cast<int>(kernel.size()) / r;
        std::vector<std::vector<Complex>> spectra;  // [m][r]
        for (int i = 0; i < m; ++i) {
            std::vector<Complex> column(r);
            for (int j = 0; j < r; ++j) column[j] = kernel[j * m + i];
            spectra.push_back(dft(column));
        }
        std::vector<double> diagonals;
        const auto add = [&](int k, bool real, double weight, bool conjugate) {
            const Complex root(cosine(2LL * k, r), -sine(2LL * k, r));
            for (int diagonal = 1 - m; diagonal < m; ++diagonal) {
                const Complex value = weight * (diagonal < 0 ? spectra[diagonal + m][k] * root : spectra[diagonal][k]);
                diagonals.push_back(value.real());
                if (!real) diagonals.push_back(conjugate ? -value.imag() : value.imag());
            }
        };
        add(0, !complex, 1.0 / r, false);
        if (r % 2 == 0) add(r / 2, !complex, 1.0 / r, false);
        for (int k = 1; k <= (r - 1) / 2; ++k) {
            // Real values: cosine and sine row are the real part and minus the imaginary part, hence the conjugate.
            add(k, false, (complex ? 1.0 : 2.0) / r, !complex);
            if (complex) add(r - k, false, 1.0 / r, false);
        }
        return {half(r), m, keep(diagonals)};
    }

    void add_dct4(OddPlan<T>& plan) {
        const int n = plan.n, h = n / 2;
        std::vector<std::int32_t> position(h), frequency(h);
        std::vector<double> in(4 * static_cast<std::size_t>(h)), out(in);
        for (int i = 0; i < n; ++i) {
            if (i == h) continue;
            // 2 i + 1 = sign n + 4 j
            const int odd = 2 * i + 1, sign = (odd - n) % 4 == 0 ? 1 : -1, j = (odd - sign * n) / 4;
            const Folded at = fold(j, n), to = fold(2LL * j, n);
            const int alternate = j % 2 == 0 ? 1 : -1;
            const int second = i > h ? 1 : 0;
            position[at.index - 1] = std::min(i, n - 1 - i);
            in[4 * (at.index - 1) + second] = alternate;
            in[4 * (at.index - 1) + 2 + second] = alternate * sign * at.sign;
            frequency[to.index - 1] = std::min(i, n - 1 - i);
            out[4 * (to.index - 1) + 2 * second] = alternate * cosine(n, 4);
            out[4 * (to.index - 1) + 2 * second + 1] = -alternate * sign * to.sign * sine(n, 4);
        }
        plan.dct4_position = keep(position);
        plan.dct4_factor = keep(in);
        plan.dct4_frequency = keep(frequency);
        plan.dct4_output_factor = keep(out);
        plan.dct4_middle = static_cast<T>(cosine(n, 4));
    }
};

}  // namespace

template <class T>
const OddPlan<T>& odd_plan(int n) {
    static Planner<T> planner;
    return planner.plan(n);
}

template const OddPlan<float>& odd_plan<float>(int);
template const OddPlan<double>& odd_plan<double>(int);

}  // namespace softdiff

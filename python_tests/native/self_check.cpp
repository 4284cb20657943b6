// The CPU kernels without Python: built by cross_check.sh for another processor and run there (or by an emulator of it).
// Prints one line for each check; exit code 1 where one failed.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "cpu/dispatch.hpp"
#include "cpu/noise.hpp"
#include "cpu/storage.hpp"

namespace {

using softdiff::Dtype;
using softdiff::Image;

bool all_passed = true;

// `error` at most `bound`, and a number.
void check(const char* name, std::int64_t height, std::int64_t width, const char* dtype, double error, double bound) {
    const bool passed = error <= bound;
    all_passed = all_passed && passed;
    std::printf("%s %-22s %3lld x %-3lld %-8s error %.2e, bound %.1e\n", passed ? "ok    " : "FAILED", name,
                static_cast<long long>(height), static_cast<long long>(width), dtype, error, bound);
}

template <class T>
struct Type;
template <>
struct Type<float> {
    static constexpr Dtype kCode = Dtype::kFloat32;
    static constexpr const char* kName = "float32";
    static constexpr double kRoundoff = 0x1p-24;
};
template <>
struct Type<double> {
    static constexpr Dtype kCode = Dtype::kFloat64;
    static constexpr const char* kName = "float64";
    static constexpr double kRoundoff = 0x1p-53;
};

template <class T>
Image image_of(const std::vector<T>& data, std::int64_t channels, std::int64_t height, std::int64_t width) {
    return {data.data(), {channels * height * width, height * width, width, 1}};
}

template <class T>
double relative_error(const std::vector<T>& got, const std::vector<T>& want) {
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
        difference += std::pow(static_cast<double>(got[i]) - static_cast<double>(want[i]), 2);
        norm += std::pow(static_cast<double>(want[i]), 2);
    }
    return std::sqrt(difference / norm);
}

template <class T>
std::vector<T> transform(const std::vector<T>& x, std::int64_t planes, std::int64_t height, std::int64_t width, bool inverse,
                         softdiff::Axes axes = softdiff::Axes::kBoth) {
    std::vector<T> out(x.size());
    softdiff::TransformTask task{};
    task.batch = 1;
    task.channels = planes;
    task.height = height;
    task.width = width;
    task.dtype = Type<T>::kCode;
    task.input = image_of(x, planes, height, width);
    task.inverse = inverse;
    task.axes = axes;
    task.out = out.data();
    task.threads = 1;
    softdiff::active_kernels().transform[softdiff::wide(task.dtype)](task);
    return out;
}

// The sum over i, j of x[i, j] cos(pi (i + 1/2) m / H) cos(pi (j + 1/2) n / W), orthonormal.
template <class T>
double coefficient(const T* x, std::int64_t height, std::int64_t width, std::int64_t m, std::int64_t n) {
    const double pi = std::acos(-1.0), rows = static_cast<double>(height), columns = static_cast<double>(width);
    double sum = 0;
    for (std::int64_t i = 0; i < height; ++i)
        for (std::int64_t j = 0; j < width; ++j)
            sum += static_cast<double>(x[i * width + j]) *
                   std::cos(pi * (static_cast<double>(i) + 0.5) * static_cast<double>(m) / rows) *
                   std::cos(pi * (static_cast<double>(j) + 0.5) * static_cast<double>(n) / columns);
    return sum * std::sqrt((m == 0 ? 1.0 : 2.0) * (n == 0 ? 1.0 : 2.0) / (rows * columns));
}

template <class T>
void check_transforms(std::int64_t height, std::int64_t width) {
    constexpr std::int64_t kPlanes = 3;
    std::vector<T> x(static_cast<std::size_t>(kPlanes * height * width));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(std::sin(0.7 * static_cast<double>(i * i % 1009)) + 0.2);
    const double bound = 30 * Type<T>::kRoundoff;
    const std::vector<T> u = transform(x, kPlanes, height, width, false);
    check("idct of dct", height, width, Type<T>::kName, relative_error(transform(u, kPlanes, height, width, true), x), bound);

    // A few coefficients of the last plane by their definition: a round trip alone would pass for the identity.
    std::vector<double> got, want;
    const std::int64_t last = (kPlanes - 1) * height * width;
    for (const std::int64_t m : {std::int64_t{0}, height / 3, height - 1}) {
        for (const std::int64_t n : {std::int64_t{0}, width / 2, width - 1}) {
            got.push_back(static_cast<double>(u[static_cast<std::size_t>(last + m * width + n)]));
            want.push_back(coefficient(x.data() + last, height, width, m, n));
        }
    }
    check("dct by definition", height, width, Type<T>::kName, relative_error(got, want), 4 * bound);
}

// The same of rows alone, of each way that row_product.hpp has and of the one without it.
template <class T>
void check_rows() {
    constexpr std::int64_t kRows = 23;
    for (std::int64_t width = 1; width <= 20; ++width) {
        std::vector<T> x(static_cast<std::size_t>(kRows * width));
        for (std::size_t i = 0; i < x.size(); ++i)
            x[i] = static_cast<T>(std::sin(0.7 * static_cast<double>(i * i % 1009)) + 0.2);
        const std::vector<T> u = transform(x, 1, kRows, width, false, softdiff::Axes::kRows);
        std::vector<double> got(u.begin(), u.end()), want;
        for (std::int64_t row = 0; row < kRows; ++row)
            for (std::int64_t k = 0; k < width; ++k) want.push_back(coefficient(x.data() + row * width, 1, width, 0, k));
        check("dct of rows", kRows, width, Type<T>::kName, relative_error(got, want),
              30 * Type<T>::kRoundoff);  // the definition's own angles are rounded
        check("idct of dct of rows", kRows, width, Type<T>::kName,
              relative_error(transform(u, 1, kRows, width, true, softdiff::Axes::kRows), x), 8 * Type<T>::kRoundoff);
    }
}

// Half of a blurred image.
constexpr double kTau = 4.0;
template <class T>
std::vector<T> half_blurred(const std::vector<T>& x, std::int64_t planes, std::int64_t height, std::int64_t width,
                            Dtype dtype) {
    const double level[4] = {std::log(0.5), kTau, 0.0, 0.0};
    std::vector<T> out(x.size());
    softdiff::CombineTask task{};
    task.batch = 1;
    task.channels = planes;
    task.height = height;
    task.width = width;
    task.dtype = dtype;
    task.kind = softdiff::GainKind::kLevel;
    task.power = 1;
    task.t = {level, 0};
    task.term[0] = image_of(x, planes, height, width);
    task.out = out.data();
    task.threads = 1;
    softdiff::active_kernels().combine[softdiff::wide(dtype)](task);
    return out;
}

// The same by way of the transforms.
template <class T>
void check_blur(std::int64_t height, std::int64_t width) {
    constexpr std::int64_t kPlanes = 2;
    std::vector<T> x(static_cast<std::size_t>(kPlanes * height * width));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(std::sin(0.3 * static_cast<double>(i * i % 997)) + 0.4);
    std::vector<T> u = transform(x, kPlanes, height, width, false);
    const double row = std::acos(-1.0) / static_cast<double>(height), column = std::acos(-1.0) / static_cast<double>(width);
    for (std::size_t i = 0; i < u.size(); ++i) {
        const auto at = static_cast<std::int64_t>(i) % (height * width);
        const double m = row * static_cast<double>(at / width), n = column * static_cast<double>(at % width);
        u[i] = static_cast<T>(static_cast<double>(u[i]) * 0.5 * std::exp(-(m * m + n * n) * kTau));
    }
    check("blur by transforms", height, width, Type<T>::kName,
          relative_error(half_blurred(x, kPlanes, height, width, Type<T>::kCode), transform(u, kPlanes, height, width, true)),
          30 * Type<T>::kRoundoff);
}

// A constant image stays one.
template <class T, class Storage = T>
double constant_blur_error(std::int64_t height, std::int64_t width, Dtype dtype, Storage constant, double value) {
    const std::vector<Storage> x(static_cast<std::size_t>(2 * height * width), constant);
    double worst = 0;
    for (const Storage& number : half_blurred(x, 2, height, width, dtype))
        worst = std::fmax(worst, std::fabs(static_cast<double>(softdiff::from_storage<T>(number)) - 0.5 * value));
    return worst;
}

// Box-Muller of two words by its definition: logarithm, sine and cosine of the library.
struct Point {
    double radius, cosine, sine;
};
Point reference_point(std::uint32_t radius_word, std::uint32_t angle_word) {
    const auto uniform = [](std::uint32_t word) { return (static_cast<double>(word) + 0.5) * 0x1p-32; };
    const double radius = std::sqrt(-2.0 * std::log(uniform(radius_word))), angle = 2.0 * std::acos(-1.0) * uniform(angle_word);
    return {radius, radius * std::cos(angle), radius * std::sin(angle)};
}

// A number of the stream, Philox one counter at a time.
double reference_normal(std::int64_t element, std::uint64_t seed) {
    const auto state = softdiff::philox(static_cast<std::uint64_t>(element / 64 * 16 + element % 16), seed);
    const std::int64_t k = element % 64 / 16, pair = k / 2 * 2;
    const Point point = reference_point(state.word[pair], state.word[pair + 1]);
    return k % 2 == 0 ? point.cosine : point.sine;
}

// Vectors and single numbers of every pair of words at which a sign, an exponent or the nearest half turn changes, which no
// stream is long enough for. Errors are by the radius.
template <class T>
void check_box_muller() {
    using V = softdiff::Vec<T>;
    const std::uint32_t words[] = {0,          1,          0x1FFFFFFF, 0x20000000, 0x2AAAAAAA, 0x3FFFFFFF,
                                   0x40000000, 0x7FFFFF7F, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xAAAAAAAA,
                                   0xBFFFFFFF, 0xC0000000, 0xFFFFFFFE, 0xFFFFFFFF};
    double worst = 0;
    for (const std::uint32_t radius_word : words)
        for (const std::uint32_t angle_word : words) {
            const Point want = reference_point(radius_word, angle_word);
            const auto off = [&](T got, double wanted) {
                worst = std::fmax(worst, std::fabs(static_cast<double>(got) - wanted) / want.radius);
            };
            const auto one = softdiff::box_muller<T>(radius_word, angle_word);
            const auto all = softdiff::box_muller<V>(typename softdiff::Lanes<V>::Unsigned{} + radius_word,
                                                     typename softdiff::Lanes<V>::Unsigned{} + angle_word);
            off(one.first, want.cosine);
            off(one.second, want.sine);
            for (int i = 0; i < softdiff::kLanes<T>; ++i) {
                off(all.first[i], want.cosine);
                off(all.second[i], want.sine);
            }
        }
    check("Box-Muller of ends", 16, 16, Type<T>::kName, worst, 8 * Type<T>::kRoundoff);
}

template <class T>
void check_noise() {
    constexpr std::int64_t kSize = 20011;
    double worst = 0;
    for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{0x123456789ABCDEF}}) {
        std::vector<T> out(kSize);
        softdiff::NormalTask task{};
        task.size = kSize;
        task.dtype = Type<T>::kCode;
        task.seed = seed;
        task.out = out.data();
        task.threads = 1;
        softdiff::active_kernels().normal[softdiff::wide(task.dtype)](task);
        for (std::int64_t i = 0; i < kSize; ++i)
            worst =
                std::fmax(worst, std::fabs(static_cast<double>(out[static_cast<std::size_t>(i)]) - reference_normal(i, seed)));
    }
    check("normal numbers", 1, kSize, Type<T>::kName, worst, 40 * Type<T>::kRoundoff);

    // Where the counter passes 2^32, which no tensor of a test is long enough for.
    constexpr std::int64_t kFirst = (std::int64_t{1} << 34) - 100, kCount = 200;
    std::vector<T> buffer(kCount + softdiff::kNormalSlack);
    const T* run = softdiff::normal_run(kFirst, kCount, 7, buffer.data());
    worst = 0;
    for (std::int64_t i = 0; i < kCount; ++i)
        worst = std::fmax(worst, std::fabs(static_cast<double>(run[i]) - reference_normal(kFirst + i, 7)));
    check("past counter 2^32", 1, kCount, Type<T>::kName, worst, 40 * Type<T>::kRoundoff);
}

template <class T>
void check_all() {
    const std::int64_t shapes[][2] = {{1, 1},   {8, 8},     {28, 30},  {32, 32},  {33, 17},
                                      {64, 64}, {109, 218}, {128, 96}, {190, 200}};
    for (const auto& shape : shapes) {
        check_transforms<T>(shape[0], shape[1]);
        check_blur<T>(shape[0], shape[1]);
        check("blur of a constant", shape[0], shape[1], Type<T>::kName,
              constant_blur_error<T>(shape[0], shape[1], Type<T>::kCode, static_cast<T>(0.75), 0.75), 30 * Type<T>::kRoundoff);
    }
    check_rows<T>();
    check_box_muller<T>();
    check_noise<T>();
}

}  // namespace

int main() {
    std::printf("instruction set: %s\n", softdiff::active_kernels().isa);
    const auto words = softdiff::philox(0, 0);
    // Random123's known answer for a counter and a key of zeros.
    const std::uint32_t known[4] = {0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U};
    int wrong = 0;
    for (int k = 0; k < 4; ++k) wrong += words.word[k] != known[k];
    check("Philox's known answer", 1, 4, "words", wrong, 0);
    check_all<float>();
    check_all<double>();
    // 0.75 and its half are exact in both; the blur may miss by a unit in the last place.
    check("blur of a constant", 32, 32, "float16",
          constant_blur_error<float>(32, 32, Dtype::kFloat16, softdiff::to_half(0.75F), 0.75), 0x1p-12);
    check("blur of a constant", 32, 32, "bfloat16",
          constant_blur_error<float>(32, 32, Dtype::kBFloat16, softdiff::to_bfloat16(0.75F), 0.75), 0x1p-9);
    return all_passed ? 0 : 1;
}

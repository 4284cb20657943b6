#include "dct_matrix.hpp"

#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <tuple>
#include <utility>
#include <vector>

#include "angle.hpp"

namespace softdiff {
namespace {

constexpr std::align_val_t kAlignment{64};

template <class T>
class MatrixStorage {
  public:
    DctMatrix<T> matrix{};

    MatrixStorage(std::int64_t size, std::int64_t lanes, bool inverse) : size_(size) {
        const std::int64_t half = (size + 1) / 2, columns = size <= lanes ? lanes : (half + lanes - 1) / lanes * lanes;
        numbers_.reset(static_cast<T*>(::operator new[](size * columns * sizeof(T), kAlignment)));
        T* next = numbers_.get();
        const auto fill = [&](std::int64_t rows, auto value) {
            const T* begin = next;
            for (std::int64_t row = 0; row < rows; ++row)
                for (std::int64_t lane = 0; lane < columns; ++lane) *next++ = static_cast<T>(value(row, lane));
            return begin;
        };
        if (size <= lanes) {
            matrix.plain = fill(size, [&](auto in, auto out) { return inverse ? entry(in, out) : entry(out, in); });
        } else if (inverse) {
            const auto position = [&](std::int64_t lane) { return lane < lanes ? lane : half - 2 * lanes + lane; };
            matrix.even = fill(half, [&](auto k, auto lane) { return entry(2 * k, position(lane)); });
            matrix.odd = fill(size / 2, [&](auto k, auto lane) { return entry(2 * k + 1, position(lane)); });
        } else {
            matrix.even = fill(half, [&](auto i, auto lane) { return entry(2 * lane, i); });
            matrix.odd = fill(size / 2, [&](auto i, auto lane) { return entry(2 * lane + 1, i); });
        }
    }

  private:
    struct Free {
        void operator()(T* p) const { ::operator delete[](p, kAlignment); }
    };
    std::int64_t size_;
    std::unique_ptr<T, Free> numbers_;

    // Frequency k at position i.
    double entry(std::int64_t k, std::int64_t i) const {
        if (k >= size_ || i >= size_) return 0.0;
        return std::sqrt((k == 0 ? 1.0 : 2.0) / static_cast<double>(size_)) * cosine(k * (2 * i + 1), 2 * size_);
    }
};

}  // namespace

template <class T>
const DctMatrix<T>& dct_matrix(std::int64_t size, std::int64_t lanes, bool inverse) {
    static std::mutex mutex;
    static std::map<std::tuple<std::int64_t, std::int64_t, bool>, std::unique_ptr<MatrixStorage<T>>> matrices;
    const std::scoped_lock lock(mutex);
    auto& entry = matrices[{size, lanes, inverse}];
    if (!entry) entry = std::make_unique<MatrixStorage<T>>(size, lanes, inverse);
    return entry->matrix;
}

template <class T>
const T* half_cosines(std::int64_t size, std::int64_t columns) {
    static std::mutex mutex;
    static std::map<std::pair<std::int64_t, std::int64_t>, std::vector<T>> tables;
    const std::scoped_lock lock(mutex);
    auto& table = tables[{size, columns}];
    if (table.empty()) {
        std::vector<T> entries;
        entries.reserve(static_cast<std::size_t>(size * columns));
        for (std::int64_t k = 0; k < size; ++k)
            for (std::int64_t m = 0; m < columns; ++m) entries.push_back(static_cast<T>(cosine(k * m, size) / 2));
        table = std::move(entries);
    }
    return table.data();
}

template const float* half_cosines<float>(std::int64_t, std::int64_t);
template const double* half_cosines<double>(std::int64_t, std::int64_t);
template const DctMatrix<float>& dct_matrix<float>(std::int64_t, std::int64_t, bool);
template const DctMatrix<double>& dct_matrix<double>(std::int64_t, std::int64_t, bool);

}  // namespace softdiff

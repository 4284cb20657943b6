// Planes narrower than a vector, kLanes of them at a time: lanes are planes, so no lane idles and rows and columns transform
// alike. Only packing and unpacking transpose.
#pragma once

#include <algorithm>

#include "line.hpp"
#include "scratch.hpp"
#include "staging.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
class Pack {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;
    static constexpr std::int64_t kLargest = 4096;  // elements of a plane: packed planes should stay in the cache

    // A pack costs the same for one plane as for kLanes: up to a quarter of them are faster one by one.
    static bool fits(std::int64_t planes, std::int64_t height, std::int64_t width) {
        return width < L && height * width <= kLargest && 4 * planes > L;
    }

    Pack(std::int64_t height, std::int64_t width)
        : H(static_cast<int>(height)), W(static_cast<int>(width)), area(H * W), columns(height), rows(width) {}

    const int H, W, area;
    const Line<T> columns, rows;

    std::int64_t scratch_vectors() const { return std::max(line_scratch(columns.plan), line_scratch(rows.plan)); }

    // Values of planes at `from`, each [area] without gaps, to packed [area]; lanes beyond `planes` repeat the last.
    void pack(const T* const* from, int planes, V* packed) const {
        V block[L];
        for_each_block([&](int begin, int count) {
            for (int lane = 0; lane < L; ++lane) block[lane] = load_part(from[std::min(lane, planes - 1)] + begin, count);
            transpose<T>(block);
            for (int i = 0; i < count; ++i) packed[begin + i] = block[i];
        });
    }

    void unpack(const V* packed, T* const* to, int planes) const {
        V block[L];
        for_each_block([&](int begin, int count) {
            for (int i = 0; i < L; ++i) block[i] = packed[begin + std::min(i, count - 1)];
            transpose<T>(block);
            for (int lane = 0; lane < planes; ++lane) store_part(to[lane] + begin, block[lane], count);
        });
    }

    // Down the columns: packed [H][W] to spectra [W][H], rows in the order of the plan, and back.
    void forward_columns(const V* packed, V* spectra, V* scratch) const {
        for (int w = 0; w < W; ++w)
            columns.forward(reinterpret_cast<const T*>(packed + w), W * L, spectra + static_cast<std::ptrdiff_t>(w) * H,
                            scratch);
    }
    void inverse_columns(V* spectra, V* packed, V* scratch) const {
        for (int w = 0; w < W; ++w)
            columns.inverse(spectra + static_cast<std::ptrdiff_t>(w) * H, reinterpret_cast<T*>(packed + w), W * L, scratch);
    }

    // Row h of the spectra as a line [W], and back.
    void load_row(const V* spectra, int h, V* line) const {
        for (int w = 0; w < W; ++w) line[w] = spectra[w * H + h];
    }
    void store_row(const V* line, int h, V* spectra) const {
        for (int w = 0; w < W; ++w) spectra[w * H + h] = line[w];
    }

  private:
    // Blocks of L elements; the last overlaps its neighbour, or is shorter where the plane is.
    template <class Body>
    void for_each_block(Body body) const {
        if (area < L) return body(0, area);
        for (int begin = 0; begin < area; begin += L) body(std::min(begin, area - L), L);
    }
    static SOFTDIFF_INLINE V load_part(const T* from, int count) {
        if (count == L) return load(from);
        V out{};
        for (int i = 0; i < count; ++i) out[i] = from[i];
        return out;
    }
    static SOFTDIFF_INLINE void store_part(T* to, V value, int count) {
        if (count == L) return store(to, value);
        for (int i = 0; i < count; ++i) to[i] = value[i];
    }
};

// Planes first .. first + planes - 1 of an image in the user's memory where they have no gaps, else converted copies in `copy`
// [kLanes][area].
template <class T>
[[gnu::noinline]] void stage_pack(Dtype dtype, const Pack<T>& pack, const Image& image, std::int64_t channels,
                                  std::int64_t first, int planes, T* copy, const T** out) {
    with_storage<T>(dtype, [&](auto storage) {
        using Storage = decltype(storage);
        const bool plain = image.stride[3] == 1 && image.stride[2] == pack.W;
        for (int lane = 0; lane < planes; ++lane) {
            const auto* from = plane_of<Storage>(image, (first + lane) / channels, (first + lane) % channels);
            if constexpr (std::is_same_v<T, Storage>) {
                if (plain) {
                    out[lane] = from;
                    continue;
                }
            }
            T* to = copy + static_cast<std::ptrdiff_t>(lane) * pack.area;
            out[lane] = to;
            if (plain) {
                convert_run(from, to, pack.area);
                continue;
            }
            for (int h = 0; h < pack.H; ++h) convert_row(from + h * image.stride[2], image.stride[3], to + h * pack.W, pack.W);
        }
    });
}

// Packed results to planes first .. first + planes - 1 of `out`, which is contiguous; `copy` [kLanes][area] serves where it
// does not hold T.
template <class T>
[[gnu::noinline]] void emit_pack(Dtype dtype, const Pack<T>& pack, const Vec<T>* packed, std::int64_t first, int planes,
                                 T* copy, void* out) {
    with_storage<T>(dtype, [&](auto storage) {
        using Storage = decltype(storage);
        Storage* begin = static_cast<Storage*>(out) + first * pack.area;
        T* whole = copy;
        if constexpr (std::is_same_v<T, Storage>) whole = begin;
        T* to[Pack<T>::L];
        for (int lane = 0; lane < planes; ++lane) to[lane] = whole + static_cast<std::ptrdiff_t>(lane) * pack.area;
        pack.unpack(packed, to, planes);
        if constexpr (!std::is_same_v<T, Storage>) convert_run_back(copy, begin, static_cast<std::int64_t>(planes) * pack.area);
    });
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

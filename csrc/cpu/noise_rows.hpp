// The normal numbers of core/normal.hpp as the row stage wants them, kLanes rows of a plane with a row in each lane: drawn in
// this order, where a plane's rows fit into whole blocks, in place of turning what noise.hpp draws along the rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "noise.hpp"
#include "plan.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
class NoiseRows {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    // Rows come in the order of `rows`, the plan of the columns.
    NoiseRows(const LinePlan<T>& rows, int height, int width, std::uint64_t seed)
        : frequency_(rows.frequency), height_(height), width_(width), keys_(philox_keys(seed)) {
        paired_ = width == kNormalBlock / 2 && height % 2 == 0;
        for (int h = 0; paired_ && h < height; ++h) paired_ = frequency_[h] == h;
    }

    // Whether this draws the plane that begins with element `first`: rows, or pairs of them, are whole blocks, and the upper
    // half of its counters is one number.
    bool draws(std::int64_t first) const {
        if constexpr (!kWords) return false;
        const std::uint64_t begin = counter_of(first), end = counter_of(first + std::int64_t{height_} * width_ - 1);
        return (width_ % kNormalBlock == 0 || paired_) && begin >> 32 == end >> 32;
    }

    // line[w], lane i: the number in row frequency[h + i] and column w of that plane.
    void draw(std::int64_t first, int h, V* line) const {
        if constexpr (kWords) {
            if (paired_) return draw_paired(first, h, line);
            for (int block = 0; block < width_; block += kNormalBlock) draw_block(first + block, h, line + block);
        }
    }

  private:
    static constexpr bool kWords = sizeof(T) == sizeof(std::uint32_t);  // a number is made from as many bits as it has
    using U = Vec<std::uint64_t>;
    static constexpr int kHalf = kLanes<std::uint64_t>;
    static constexpr int kVectors = 2 * kPhiloxGroups;  // of counters that are worked on at once

    const std::int32_t* frequency_;
    int height_, width_;
    PhiloxKeys keys_;
    bool paired_;  // a block is two rows, and they come one after the other

    static std::uint64_t counter_of(std::int64_t element) { return static_cast<std::uint64_t>(element) / 4; }

    // The products of the lower halves of the counters of the first number of each row of a block, or of each pair of rows.
    template <int Count>
    void first_products(std::int64_t first, int h, int step, std::uint64_t* product) const {
        for (int i = 0; i < Count; ++i) {
            const std::int64_t row = frequency_[std::min(h + i * step, height_ - 1)];
            product[i] = (counter_of(first + row * width_) & 0xFFFFFFFFU) * kPhiloxMultiplier0;
        }
    }

    // 64 columns: counter l of a row has columns l, l + 16, l + 32 and l + 48.
    void draw_block(std::int64_t first, int h, V* line) const {
        alignas(kVectorBytes) std::uint64_t product[L];
        first_products<kHalf>(first, h, 2, product);  // even lanes, then odd lanes
        first_products<kHalf>(first, h + 1, 2, product + kHalf);
        const U rows[2] = {load(product), load(product + kHalf)};
        for (int l = 0; l < kNormalLanes; l += kPhiloxGroups) {
            U products[kVectors];
            SOFTDIFF_UNROLL
            for (int i = 0; i < kVectors; ++i)
                products[i] = rows[i % 2] + static_cast<std::uint64_t>(l + i / 2) * kPhiloxMultiplier0;
            PhiloxState<U> state[kVectors];
            philox_of_products(products, [&](int) { return counter_of(first) >> 32; }, keys_, state);
            SOFTDIFF_UNROLL
            for (int g = 0; g < kPhiloxGroups; ++g)
                for (int k = 0; k < 4; ++k)
                    store_words(line + k * kNormalLanes + l + g, state[2 * g].word[k], state[2 * g + 1].word[k]);
        }
        make_normal(line);
        make_normal(line + 2 * kNormalLanes);
    }

    // 32 columns: counter l of a pair of rows has columns l and l + 16 of the one, then of the other.
    void draw_paired(std::int64_t first, int h, V* line) const {
        alignas(kVectorBytes) std::uint64_t product[kHalf];
        first_products<kHalf>(first, h, 2, product);
        const U rows = load(product);
        for (int l = 0; l < kNormalLanes; l += kVectors) {
            U products[kVectors];
            SOFTDIFF_UNROLL
            for (int i = 0; i < kVectors; ++i) products[i] = rows + static_cast<std::uint64_t>(l + i) * kPhiloxMultiplier0;
            PhiloxState<U> state[kVectors];
            philox_of_products(products, [&](int) { return counter_of(first) >> 32; }, keys_, state);
            SOFTDIFF_UNROLL
            for (int i = 0; i < kVectors; ++i)
                for (int k = 0; k < 2; ++k)
                    store_words(line + k * kNormalLanes + l + i, state[i].word[k], state[i].word[2 + k]);
        }
        make_normal(line);
    }

    // The words wait where their numbers will be.
    static SOFTDIFF_INLINE void store_words(V* to, U even, U odd) {
        store(reinterpret_cast<std::uint32_t*>(to), detail::interleave_words(even, odd, std::make_integer_sequence<int, L>{}));
    }
    // kNormalLanes vectors of radii, then as many of angles.
    static void make_normal(V* line) {
        const auto word = [](const V* at) { return load(reinterpret_cast<const std::uint32_t*>(at)); };
        for (V* radius = line; radius < line + kNormalLanes; ++radius) *radius = box_muller_radius<V>(word(radius));
        for (V* number = line; number < line + kNormalLanes; ++number) {
            const auto numbers = box_muller_turn<V>(*number, word(number + kNormalLanes));
            number[0] = numbers.first;
            number[kNormalLanes] = numbers.second;
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

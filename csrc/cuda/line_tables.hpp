// How a block transforms a line of any length N, and the tables for it in device memory. N = radix * 2^halvings * leaf:
//
//   split     `radix` values at a time in registers (core/radix.hpp), for lines above 16 * 32 then one level at a time
//   leaves    of even length 16 .. 32: codelets; of odd length: the cosine and sine half of a real DFT (cpu/odd.hpp), dense
//   outputs   butterflies between the leaves, in levels whose pairs are apart from each other
//
// All in place: a slot (what a leaf works on) lies forwards or backwards in the line, as the folding leaves it; its outputs lie
// forwards. Frequencies stay in the order that results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../core/config.hpp"

namespace softdiff {

constexpr int kMaxButterflyLevels = 12;
constexpr int kMaxDeviceRadix = 16;  // 32 values, their places and rotations at once are more than there are registers

// C2 or C4 of odd length, or C3, as columns of the tables below.
enum class LeafKind : int { kDct2 = 0, kDct3 = 1, kDct4 = 2 };
constexpr int kLeafKinds = 3;

template <class T>
struct alignas(16) Rotation {
    T factor[4];
    SOFTDIFF_INLINE T operator[](int i) const { return factor[i]; }
};

// A node of the recursion: value i is at first + step i of the line, step = 1 or -1.
struct alignas(16) NodePlace {
    std::int32_t first, step;
    std::int32_t low;   // the lowest position it covers
    std::int32_t dct4;  // it needs C4, not C2
};

// Outputs at positions a and b that meet in a butterfly; b = -1: the output at a has none.
struct alignas(8) OutputPair {
    std::int32_t a, b;
};

// Values (or outputs) a and b of an odd leaf against entry j of its half DFT: c[j] = f0 x[a] + f1 x[b], d[j] = f2 x[a] + f3
// x[b], or y[a] = f0 C[j] + f1 S[j], y[b] = f2 C[j] + f3 S[j]. Entry 0 has a alone.
template <class T>
struct alignas(16) OddEntry {
    T factor[4];
    std::int32_t a, b;
};

template <class T>
struct alignas(2 * sizeof(T)) CirclePoint {
    T cosine, sine;
};

// Division of numbers below 2^31 by a number that is the same for many: a product and a shift.
struct Divider {
    std::uint32_t divisor = 1, multiplier = 0x80000001U;
    int shift = 31;

    static Divider of(std::int64_t divisor);
    SOFTDIFF_INLINE std::uint32_t divide(std::uint32_t n) const {
        return static_cast<std::uint32_t>((static_cast<std::uint64_t>(n) * multiplier) >> shift);
    }
};

// Plain data with pointers to device memory, passed to kernels by value.
template <class T>
struct LineTables {
    int size, radix, halvings, slots, leaf;
    bool codelet;
    int levels;                                         // of butterflies
    std::int32_t level_first[kMaxButterflyLevels + 1];  // pairs of level l: level_first[l] .. level_first[l + 1]; the last
                                                        // level has every output that is not in its pairs too, with b = -1
    Divider positions;                                  // size / radix: the positions that split works on
    Divider last_pairs;                                 // entries of the last level
    const Rotation<T>* split;                           // [rotations][size / radix]
    const Rotation<T>* halving;                         // of each halving [half the length of its nodes], one after the other
    const NodePlace* node;  // radix nodes, then twice as many after each halving; the last are the slots
    const OutputPair* pair;
    const std::int32_t* frequency;  // [size] that the output at a position holds
    const std::int32_t* position;   // [size], its inverse
    const T *weight, *root_weight;  // [size] at positions: C3 weight C2 = 1; root_weight C2 is orthonormal
    const OddEntry<T>*odd_in[kLeafKinds], *odd_out[kLeafKinds];  // [leaf / 2 + 1] each, null where the leaf is a codelet
    const CirclePoint<T>* circle;                                // [leaf, or more]: cos and sin of 2 pi m / leaf

    SOFTDIFF_INLINE const NodePlace* nodes(int level) const {
        return node + static_cast<std::int64_t>(radix) * ((1 << level) - 1);
    }
    SOFTDIFF_INLINE int half_length(int halving_level) const { return size / radix >> (halving_level + 1); }
    SOFTDIFF_INLINE std::int64_t halving_offset(int halving_level) const {
        return size / radix - (size / radix >> halving_level);
    }
};

// Even lengths of leaves that are straight-line code.
constexpr int kMinLeafCodelet = 16, kMaxLeafCodelet = 32;
constexpr bool has_leaf_codelet(int n) { return n % 2 == 0 && n >= kMinLeafCodelet && n <= kMaxLeafCodelet; }

// The tables of one length as they are built on the host: one piece of memory, and pointers into it as offsets.
template <class T>
class HostLine {
  public:
    explicit HostLine(int size);

    const std::vector<unsigned char>& bytes() const { return bytes_; }
    std::uint64_t key() const;
    // With pointers into a copy of the bytes that begins at `base`.
    LineTables<T> at(const void* base) const;
    const LineTables<T>& shape() const { return tables_; }  // its pointers are not for use

  private:
    std::vector<unsigned char> bytes_;
    LineTables<T> tables_{};

    template <class Entry>
    const Entry* append(const std::vector<Entry>& entries);
    void build_split(int leaf_after_split);
    void build_nodes();
    void build_outputs();
    void build_odd_leaf();
};

// Cached for the life of the process.
template <class T>
const HostLine<T>& host_line(std::int64_t size);

template <class T, class Launcher>
LineTables<T> line_tables(std::int64_t size, Launcher& launcher) {
    const HostLine<T>& host = host_line<T>(size);
    return host.at(launcher.table(host.key(), host.bytes().data(), static_cast<std::int64_t>(host.bytes().size())));
}

}  // namespace softdiff

// Half lines of square planes, for the passes of halves.hpp.
//
// A line of N is two lines of n = N / 2 (core/codelets.hpp): C2(N) is C2(n) of the sums x[i] + x[N-1-i], which gives the even
// frequencies, and C4(n) of the differences, which gives the odd ones; C3(N) the transpose. A thread has one of the two in
// registers. The threads of a warp have the same half, so none waits for another codelet, and there are no butterflies. In a
// tile a row has its even frequencies first, then the odd ones.
#pragma once

#include "square.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
struct HalvesParams {
    CombineParams combine;
    std::int64_t first_plane, count;  // of the launch
    T* scratch;                       // [terms][chunk] planes
    std::int64_t scratch_values;      // of a term
    int slot;                         // HalvesIn: the term's place among those that are transformed
    int term;                         // and the term
};

template <int N, class T>
struct Halves {
    static constexpr int kHalf = N / 2;
    static constexpr int kLines = 32;  // of a warp
    static constexpr int kBlocks = N >= 256 ? 3 : 4;
    using Codes = Codelet<T, T, kHalf>;
    using Whole = SquarePlane<N, T>;

    // C2 of half a line, or `back` C3 of what C2 made of it, with SquarePlane::inverse's half of the first coefficient.
    static SOFTDIFF_INLINE void transform(bool odd, bool back, T* x, T* y) {
        if (back && !odd) x[0] *= T(0.5);
        if (odd) {
            Codes::dct4(Values<const T>{x}, Values<T>{y});
        } else if (!back) {
            Codes::dct2(Values<const T>{x}, Values<T>{y});
        } else {
            Codes::dct3(Values<const T>{x}, Values<T>{y});
        }
    }

    // Where a block works that has a panel of `Lines` lines of a plane.
    template <int Lines>
    struct Place {
        std::int64_t plane, b, c, local;  // local: of the launch
        int first;                        // line
        SOFTDIFF_INLINE Place(std::int64_t number, const HalvesParams<T>& p) {
            constexpr unsigned kPanels = N / Lines;
            const auto block = static_cast<std::uint32_t>(number), index = block / kPanels;
            const auto of_all = static_cast<std::uint32_t>(p.first_plane) + index;
            const std::uint32_t sample = p.combine.channels_apart.divide(of_all);
            local = index;
            plane = of_all;
            b = sample;
            c = of_all - sample * p.combine.channels_apart.divisor;
            first = static_cast<int>(block % kPanels) * Lines;
        }
    };
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

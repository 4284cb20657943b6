// The commonest small squares with every address a literal in the code (static_line.hpp): the stages of plane.hpp on the same
// panels, but the turns and transforms of a block of rows are one straight run of instructions without a buffer between them,
// and 16-bit images are read and written as they are.
#pragma once

#include "plane.hpp"
#include "row_filter.hpp"
#include "static_line.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T, int N>
struct Square {
    using V = Vec<T>;
    using Line = std::conditional_t<has_codelet(N), WholeLine<T, N>, HalvedLine<T, N>>;
    static constexpr int L = kLanes<T>;
    static constexpr int kPanels = (N + L - 1) / L;
    static constexpr int kStride = panel_stride(N, L);

    static constexpr int offset(int panel) { return panel * L < N - L ? panel * L : N - L; }

    template <class Storage>
    [[gnu::noinline]] static void forward_columns(const Storage* __restrict x, V* __restrict panels) {
        for (int j = 0; j < kPanels; ++j) Line::forward(Columns<const Storage>{x + offset(j)}, panels + j * kStride);
    }

    template <class Storage>
    [[gnu::noinline]] static void inverse_columns(const V* __restrict panels, Storage* __restrict out) {
        for (int j = 0; j < kPanels; ++j) Line::inverse(panels + j * kStride, Columns<Storage>{out + offset(j)});
    }

    // The rows of the addends are N apart, as those of the result are.
    template <int Count>
    [[gnu::noinline]] static void inverse_columns(const V* panels, const Addends<T>& addends, T* out) {
        for (int j = 0; j < kPanels; ++j) {
            auto view = sum_out<Count>(addends, Columns<T>{out + offset(j)}, offset(j));
            for (auto& image : view.image) image.row_stride = N;
            Line::inverse(panels + j * kStride, view);
        }
    }

    // C3 (gain . C2 x) down the columns, to rows as a RowFilter takes them, where there is one for such planes.
    static constexpr bool kRowFilter = RowFilter<T>::fits(N, N) && has_codelet(N);
    template <class Storage>
    [[gnu::noinline]] static void filter_columns(const Storage* __restrict x, const T* __restrict gain, T* __restrict to) {
        for (int j = 0; j < kPanels; ++j) Line::filter(Columns<const Storage>{x + offset(j)}, gain, ForRowFilter{to + j * L});
    }

    // Rows h .. h + kLanes - 1 of all panels through the transform, mix and the inverse, to panels[0]. Of what they fetch, half
    // comes with the turns and half in the pauses between the transforms, if there are any.
    template <int Terms, class Mix, class Fetch>
    [[gnu::noinline]] static void filter_rows(V* const* panels, int h, Mix mix, const Fetch& planes) {
        constexpr int kPauses = Line::template kPauses<Terms>, kAll = Fetch::template kAll<N>;
        constexpr int kPause = kPauses > 0 ? kAll / (2 * kPauses) : 0, kTurning = kAll - kPauses * kPause;
        constexpr int kTurnsIn = Terms * kPanels, kSteps = (kTurnsIn + kPanels) * L;
        const Fetch fetch = planes.template from_row<N>(h);
        const auto turn = [&](int number, const V* from, V* to) SOFTDIFF_INLINE_LAMBDA {
            const int step = number * L, before = number < kTurnsIn ? 0 : kPauses * kPause;
            transpose_block<T>(from, to, [&](int i) SOFTDIFF_INLINE_LAMBDA {
                fetch.template lines<N>(before + (step + i) * kTurning / kSteps, before + (step + i + 1) * kTurning / kSteps);
            });
        };
        const auto pause = [&](int number) SOFTDIFF_INLINE_LAMBDA {
            const int first = kTurnsIn * L * kTurning / kSteps + number * kPause;
            fetch.template lines<N>(first, first + kPause);
        };
        V line[Terms][N];
        SOFTDIFF_UNROLL
        for (int i = 0; i < Terms; ++i) {
            SOFTDIFF_UNROLL
            for (int j = 0; j < kPanels; ++j) turn(i * kPanels + j, panels[i] + j * kStride + h, line[i] + offset(j));
        }
        Line::template filter<Terms>(line, mix, pause);
        SOFTDIFF_UNROLL
        for (int j = 0; j < kPanels; ++j) turn(Terms * kPanels + j, line[0] + offset(j), panels[0] + j * kStride + h);
    }

  private:
    template <class Storage>
    struct Columns {                           // kLanes columns of an image with rows of N
        static constexpr bool kAhead = false;  // whoever worked on the rows before has fetched it
        Storage* data;
        SOFTDIFF_INLINE V operator[](int i) const { return load_as<T>(data + i * N); }
        SOFTDIFF_INLINE void put(int i, V value) const { store_as(data + i * N, value); }
    };
    struct ForRowFilter {
        T* data;
        SOFTDIFF_INLINE void put(int i, V value) const { store(data + i * RowFilter<T>::kSide, value); }
    };
};

// body(Square<T, N>{}) where there is one for the plane; false, and nothing done, where there is none.
template <class T, class Body>
inline bool with_square(const Plane<T>& plane, Body body) {
    if constexpr (sizeof(T) == sizeof(float)) {
        if (plane.H != plane.W) return false;
        switch (plane.W) {
            case 16: body(Square<T, 16>{}); return true;
            case 28: body(Square<T, 28>{}); return true;
            case 32: body(Square<T, 32>{}); return true;
            case 64: body(Square<T, 64>{}); return true;
            default: break;
        }
    }
    return false;
}

// Down the columns of an image to `panels`, and from there to one with rows of W; of a square where it is one. `buffer` as
// those of Plane for 16-bit storage want it.
template <class T, class Storage>
[[gnu::noinline]] void forward_columns(const Plane<T>& plane, const StagedPlane<Storage>& image, Vec<T>* panels,
                                       Vec<T>* scratch, [[maybe_unused]] T* buffer = nullptr) {
    if (image.row_stride == plane.W && with_square(plane, [&](auto square) { square.forward_columns(image.data, panels); }))
        return;
    if constexpr (std::is_same_v<T, Storage>) {
        plane.forward_columns(image.data, image.row_stride, panels, scratch);
    } else {
        plane.forward_columns(image.data, image.row_stride, panels, scratch, buffer);
    }
}
template <class T, class Storage>
[[gnu::noinline]] void inverse_columns(const Plane<T>& plane, Vec<T>* panels, Storage* out, Vec<T>* scratch,
                                       [[maybe_unused]] T* buffer = nullptr) {
    if (with_square(plane, [&](auto square) { square.inverse_columns(panels, out); })) return;
    if constexpr (std::is_same_v<T, Storage>) {
        plane.inverse_columns(panels, out, plane.W, scratch);
    } else {
        plane.inverse_columns(panels, out, plane.W, scratch, buffer);
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// Two-dimensional transforms of one plane [H, W], written so that the user's memory is read once and written once:
//
//   columns:  C2 down the columns, kLanes columns at a time, into panels: panel j holds the columns from offset(j) on as H
//             vectors. The last panel overlaps its neighbour where W is no multiple of kLanes: no masks anywhere.
//   rows:     kLanes rows at a time: transpose the blocks of all panels into a line buffer [W], whose lanes are now rows, and
//             transform along it.
// and the same backwards. Frequencies stay in the order of the plans (line.hpp).
#pragma once

#include <algorithm>

#include "addends.hpp"
#include "line.hpp"
#include "prefetch.hpp"
#include "storage.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// kLanes vectors, transposed; meanwhile(0), .. meanwhile(kLanes - 1) are called on the way.
template <class T, class Meanwhile = Nothing>
SOFTDIFF_INLINE void transpose_block(const Vec<T>* from, Vec<T>* to, Meanwhile meanwhile = {}) {
    Vec<T> block[kLanes<T>];
    SOFTDIFF_UNROLL
    for (int i = 0; i < kLanes<T>; ++i) block[i] = from[i];
    transpose<T>(block, meanwhile);
    SOFTDIFF_UNROLL
    for (int i = 0; i < kLanes<T>; ++i) to[i] = block[i];
}

// Vectors from one panel of a plane of `height` rows to the next: whole blocks of rows, and a few vectors more than a large
// power of two, so that panels do not compete for the same cache sets.
constexpr int panel_stride(int height, int lanes) {
    const int padded = (height + lanes - 1) / lanes * lanes;
    return padded >= 64 ? padded + lanes : padded;
}

template <class T>
class Plane {
  public:
    using V = Vec<T>;
    static constexpr int L = kLanes<T>;

    Plane(std::int64_t height, std::int64_t width)
        : H(static_cast<int>(height)),
          W(static_cast<int>(width)),
          padded_width(std::max(W, L)),
          padded_height((H + L - 1) / L * L),
          panels((W + L - 1) / L),
          panel_stride(softdiff::panel_stride(H, L)),
          columns(height),
          rows(width) {}

    const int H, W;
    const int padded_width;   // W, or kLanes for narrower planes: the row length of staged planes and line buffers
    const int padded_height;  // H up to a multiple of kLanes: rows are transformed in whole blocks
    const int panels;
    const int panel_stride;
    const Line<T> columns, rows;

    bool narrow() const { return W < L; }
    int offset(int panel) const { return W <= L ? 0 : std::min(panel * L, W - L); }
    std::int64_t panel_vectors() const { return static_cast<std::int64_t>(panels) * panel_stride; }
    std::int64_t scratch_vectors() const { return std::max(line_scratch(columns.plan), line_scratch(rows.plan)); }

    // Panels of tall planes two at a time, but for the last where it overlaps its neighbour: each step down a column goes to
    // another page of memory, and twice as much is read or written there. Lower planes lose more by the larger buffer.
    template <class Body>
    void for_panels(Body body) const {
        int j = 0;
        if (H >= 256 && columns.plan.radix > 1)
            for (; offset(j) + 2 * L <= W; j += 2) body(std::integral_constant<int, 2>{}, j);
        for (; j < panels; ++j) body(std::integral_constant<int, 1>{}, j);
    }

    // Columns that are split fetch the next panel while they read or write one: a step down a column goes further than the
    // processor's own prefetcher follows. Small planes are better fetched as a whole while the rows are worked on
    // (prefetch.hpp), with all of the arithmetic to hide behind; larger ones pushed their own panels out of the first cache.
    bool fetches_panels() const { return columns.plan.radix > 1 && static_cast<std::int64_t>(H) * W * sizeof(T) > (32 << 10); }

    // Whether the next plane, of elements of so many bytes, is fetched at all while the rows of this one are worked on.
    bool fetches_planes(int element) const {
        const std::int64_t bytes = static_cast<std::int64_t>(H) * W * element;
        return bytes <= (fetches_panels() ? 128 << 10 : 256 << 10);
    }

    // From the panels at column offset(j) to the next ones, or to the first of the plane that follows in memory.
    std::ptrdiff_t ahead(int count, int j, std::ptrdiff_t row_stride) const {
        return j + count < panels ? offset(j + count) - offset(j) : H * row_stride - offset(j);
    }

    void forward_columns(const T* x, std::ptrdiff_t row_stride, V* panel, V* scratch) const {
        for_panels([&](auto count, int j) {
            V* to = panel + static_cast<std::ptrdiff_t>(j) * panel_stride;
            if (columns.plan.radix == 1) return columns.forward(x + offset(j), row_stride, to, scratch);
            StridedAhead<const T> in[count];
            for (int line = 0; line < count; ++line)
                in[line] = {x + offset(j) + line * L, row_stride, ahead(count, j, row_stride)};
            columns.forward(in, to, panel_stride, scratch);
        });
    }

    void inverse_columns(V* panel, T* out, std::ptrdiff_t row_stride, V* scratch) const {
        for_panels([&](auto count, int j) {
            V* from = panel + static_cast<std::ptrdiff_t>(j) * panel_stride;
            if (columns.plan.radix == 1) return columns.inverse(from, out + offset(j), row_stride, scratch);
            StridedAhead<T> to[count];
            for (int line = 0; line < count; ++line)
                to[line] = {out + offset(j) + line * L, row_stride, ahead(count, j, row_stride)};
            columns.inverse(from, panel_stride, to, scratch);
        });
    }
    // The same of images stored in 16 bits, a panel at a time through `buffer` [2 H kLanes]: a converted copy of the whole
    // plane would not stay in the first cache.
    template <class Storage>
    void forward_columns(const Storage* x, std::ptrdiff_t row_stride, V* panel, V* scratch, T* buffer) const {
        for_panels([&](auto count, int j) {
            V* to = panel + static_cast<std::ptrdiff_t>(j) * panel_stride;
            stage_panels<count>(x + offset(j), row_stride, ahead(count, j, row_stride), buffer);
            if (columns.plan.radix == 1) return columns.forward(buffer, L, to, scratch);
            StridedAhead<const T> in[count];
            for (int line = 0; line < count; ++line) in[line] = {buffer + line * L, count * L, 0};
            columns.forward(in, to, panel_stride, scratch);
        });
    }
    template <class Storage>
    void inverse_columns(V* panel, Storage* out, std::ptrdiff_t row_stride, V* scratch, T* buffer) const {
        for_panels([&](auto count, int j) {
            V* from = panel + static_cast<std::ptrdiff_t>(j) * panel_stride;
            if (columns.plan.radix == 1) {
                columns.inverse(from, buffer, L, scratch);
            } else {
                StridedAhead<T> lines[count];
                for (int line = 0; line < count; ++line) lines[line] = {buffer + line * L, count * L, 0};
                columns.inverse(from, panel_stride, lines, scratch);
            }
            const std::ptrdiff_t next = ahead(count, j, row_stride);
            for (int h = 0; h < H; ++h) {
                Storage* to = out + h * row_stride + offset(j);
                fetch_line<FetchFor::kWrite>(to + next);
                for (int i = 0; i < count; ++i) store_as(to + i * L, load(buffer + (h * count + i) * L));
            }
        });
    }

    // The same, with other images added on the way.
    template <int Count>
    void inverse_columns(V* panel, const Addends<T>& addends, T* out, std::ptrdiff_t row_stride, V* scratch) const {
        for_panels([&](auto count, int j) {
            SumOut<T, Count, StridedAhead<T>> to[count];
            for (int line = 0; line < count; ++line) {
                const int column = offset(j) + line * L;
                to[line] =
                    sum_out<Count>(addends, StridedAhead<T>{out + column, row_stride, ahead(count, j, row_stride)}, column);
            }
            columns.inverse(panel + static_cast<std::ptrdiff_t>(j) * panel_stride, panel_stride, to, scratch);
        });
    }

    // C3 (gain . C2 x) down the columns, to y: panels and rows are so many numbers apart. `buffer` [2 H kLanes] is for images
    // stored in 16 bits.
    template <class Storage>
    void filter_columns(const Storage* x, std::ptrdiff_t row_stride, const T* gain, T* y, std::ptrdiff_t panel_step,
                        std::ptrdiff_t row_step, V* scratch, [[maybe_unused]] T* buffer) const {
        for_panels([&](auto count, int j) {
            T* to = y + j * panel_step;
            const std::ptrdiff_t next = ahead(count, j, row_stride);
            if constexpr (std::is_same_v<T, Storage>) {
                filter_panels<count>(x + offset(j), row_stride, L, next, gain, to, panel_step, row_step, scratch);
            } else {
                stage_panels<count>(x + offset(j), row_stride, next, buffer);
                filter_panels<count>(buffer, count * L, L, 0, gain, to, panel_step, row_step, scratch);
            }
        });
    }

    // Rows h .. of a line buffer to those of an image with rows of W, as many as it has up to kLanes, with `Count` addends.
    template <int Count, class Storage, class Fetch>
    [[gnu::noinline]] void put_rows(const V* line, int h, const Addends<T>& addends, Storage* out, Fetch fetch) const {
        for_blocks(h, fetch, [&](int j, auto meanwhile) SOFTDIFF_INLINE_LAMBDA {
            V block[L];
            transpose_block<T>(line + offset(j), block, meanwhile);
            const auto put = [&](int lane) SOFTDIFF_INLINE_LAMBDA {
                SOFTDIFF_UNROLL
                for (int k = 0; k < Count; ++k)
                    block[lane] +=
                        addends.factor[k] * load(addends.image[k].data + (h + lane) * addends.image[k].row_stride + offset(j));
                store_as(out + static_cast<std::ptrdiff_t>(h + lane) * W + offset(j), block[lane]);
            };
            if (H - h >= L) {
                SOFTDIFF_UNROLL
                for (int lane = 0; lane < L; ++lane) put(lane);
            } else {
                for (int lane = 0; lane < H - h; ++lane) put(lane);
            }
        });
    }

    // Rows h .. h + kLanes - 1 of the panels as a line buffer, and back.
    template <class Fetch = NoFetch>
    void load_rows(const V* panel, int h, V* line, Fetch fetch = {}) const {
        for_blocks(h, fetch, [&](int j, auto meanwhile) SOFTDIFF_INLINE_LAMBDA {
            transpose_block<T>(panel + static_cast<std::ptrdiff_t>(j) * panel_stride + h, line + offset(j), meanwhile);
        });
    }
    template <class Fetch = NoFetch>
    void store_rows(const V* line, V* panel, int h, Fetch fetch = {}) const {
        for_blocks(h, fetch, [&](int j, auto meanwhile) SOFTDIFF_INLINE_LAMBDA {
            transpose_block<T>(line + offset(j), panel + static_cast<std::ptrdiff_t>(j) * panel_stride + h, meanwhile);
        });
    }

    // The rows of a plane in natural frequency order that outputs h .. h + kLanes - 1 of the column plan hold, as a line
    // buffer, and back.
    template <class Fetch = NoFetch>
    void gather_rows(const T* plane, std::ptrdiff_t row_stride, int h, V* line, Fetch fetch = {}) const {
        for_blocks(h, fetch, [&](int j, auto meanwhile) SOFTDIFF_INLINE_LAMBDA {
            V block[L];
            for (int lane = 0; lane < L; ++lane)
                block[lane] = load(plane + columns.plan.frequency[std::min(h + lane, H - 1)] * row_stride + offset(j));
            transpose_block<T>(block, line + offset(j), meanwhile);
        });
    }
    template <class Fetch = NoFetch>
    void scatter_rows(const V* line, int h, T* plane, std::ptrdiff_t row_stride, Fetch fetch = {}) const {
        for_blocks(h, fetch, [&](int j, auto meanwhile) SOFTDIFF_INLINE_LAMBDA {
            V block[L];
            transpose_block<T>(line + offset(j), block, meanwhile);
            for (int lane = 0; lane < std::min(L, H - h); ++lane)
                store(plane + columns.plan.frequency[h + lane] * row_stride + offset(j), block[lane]);
        });
    }

  private:
    // `Count` neighbouring panels of an image in 16 bits, row by row, to `buffer`; what lies `next` further comes into the
    // cache.
    template <int Count, class Storage>
    void stage_panels(const Storage* x, std::ptrdiff_t row_stride, std::ptrdiff_t next, T* buffer) const {
        for (int h = 0; h < H; ++h, x += row_stride) {
            fetch_line<FetchFor::kRead>(x + next);
            for (int i = 0; i < Count; ++i, buffer += L) store(buffer, load_as<T>(x + i * L));
        }
    }

    // `Count` neighbouring panels, from columns `step` apart.
    template <int Count>
    void filter_panels(const T* x, std::ptrdiff_t row_stride, int step, std::ptrdiff_t next, const T* gain, T* to,
                       std::ptrdiff_t panel_step, std::ptrdiff_t row_step, V* scratch) const {
        if (columns.plan.radix == 1) return columns.filter(x, row_stride, gain, to, row_step, scratch);
        StridedAhead<const T> in[Count];
        Strided<T> out[Count];
        for (int line = 0; line < Count; ++line) {
            in[line] = {x + line * step, row_stride, next};
            out[line] = {to + line * panel_step, row_step};
        }
        columns.filter(in, gain, out, scratch);
    }

    // body(panel, meanwhile) for the blocks of rows h .. h + kLanes - 1 in all panels: what is fetched while each is turned.
    template <class Fetch, class Body>
    SOFTDIFF_INLINE void for_blocks(int h, Fetch fetch, Body body) const {
        if (fetch.nothing()) {
            for (int j = 0; j < panels; ++j) body(j, Nothing{});
        } else {
            for (int j = 0; j < panels; ++j) body(j, fetch.template block<L>(h / L * panels + j));
        }
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// Between the user's tensors and planes in memory as rows of T.
#pragma once

#include "plane.hpp"
#include "storage.hpp"
#include "task.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Whether tensors of this type hold numbers of T.
template <class T>
inline bool stores(Dtype dtype) {
    return element_bytes(dtype) == static_cast<int>(sizeof(T));
}

template <class Storage>
inline const Storage* plane_of(const Image& image, std::int64_t b, std::int64_t c) {
    return static_cast<const Storage*>(image.data) + b * image.stride[0] + c * image.stride[1];
}

// What begins with element `first` of a tensor.
inline FetchedPlane fetched(const void* tensor, std::int64_t first, Dtype dtype) {
    return {static_cast<const char*>(tensor) + first * element_bytes(dtype), element_bytes(dtype)};
}

// Plane c of sample b, to be fetched while the rows of the plane before it are worked on; nothing where rows lie apart, and of
// planes so large that they would push each other out of the second cache before they are used.
template <class T>
inline FetchedPlane fetched_plane(Dtype dtype, const Plane<T>& plane, const Image& image, std::int64_t b, std::int64_t c) {
    if (image.stride[3] != 1 || image.stride[2] != plane.W || !plane.fetches_planes(element_bytes(dtype))) return {};
    return fetched(image.data, b * image.stride[0] + c * image.stride[1], dtype);
}

// Whether `stage` copies.
template <class T>
inline bool needs_copy(Dtype dtype, const Plane<T>& plane, const Image& image) {
    return !stores<T>(dtype) || image.stride[3] != 1 || plane.narrow();
}

// Plane c of sample b as rows of T: the user's own memory where it has that form, else a converted copy in `copy` [H,
// padded_width].
template <class T>
[[gnu::noinline]] StagedPlane<T> stage(Dtype dtype, const Plane<T>& plane, const Image& image, std::int64_t b, std::int64_t c,
                                       T* copy) {
    const std::int64_t row = image.stride[2], column = image.stride[3];
    if (!needs_copy(dtype, plane, image)) return {plane_of<T>(image, b, c), row};
    with_storage<T>(dtype, [&](auto storage) {
        const auto* from = plane_of<decltype(storage)>(image, b, c);
        for (int h = 0; h < plane.H; ++h) {
            T* to = copy + static_cast<std::ptrdiff_t>(h) * plane.padded_width;
            convert_row(from + h * row, column, to, plane.W);
            for (int w = plane.W; w < plane.padded_width; ++w) to[w] = 0;
        }
    });
    return {copy, plane.padded_width};
}

// Where a plane's result is put together: the output itself where it holds T, else `copy`, which `emit` then converts.
template <class T>
inline StagedPlane<T> target(Dtype dtype, const Plane<T>& plane, void* out, T* copy) {
    if (stores<T>(dtype) && !plane.narrow()) return {static_cast<T*>(out), plane.W};
    return {copy, plane.padded_width};
}
template <class T>
[[gnu::noinline]] void emit(Dtype dtype, const Plane<T>& plane, const StagedPlane<T>& result, void* out) {
    if (result.data == out) return;
    with_storage<T>(dtype, [&](auto storage) {
        auto* to = static_cast<decltype(storage)*>(out);
        for (int h = 0; h < plane.H; ++h)
            convert_run_back(result.data + h * result.row_stride, to + static_cast<std::ptrdiff_t>(h) * plane.W, plane.W);
    });
}

// Rows first .. first + rows - 1 of the last dimension as numbers of T one after the other, to `copy`.
template <class T>
[[gnu::noinline]] void stage_rows(Dtype dtype, const Image& image, std::int64_t first, std::int64_t rows, std::int64_t width,
                                  T* copy) {
    with_storage<T>(dtype, [&](auto storage) {
        const auto* from = static_cast<const decltype(storage)*>(image.data) + first * image.stride[2];
        for (std::int64_t r = 0; r < rows; ++r)
            convert_row(from + r * image.stride[2], image.stride[3], copy + r * width, width);
    });
}

// `count` numbers to `out`, from its element `first` on.
template <class T>
[[gnu::noinline]] void emit_run(Dtype dtype, const T* numbers, void* out, std::int64_t first, std::int64_t count) {
    with_storage<T>(dtype,
                    [&](auto storage) { convert_run_back(numbers, static_cast<decltype(storage)*>(out) + first, count); });
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

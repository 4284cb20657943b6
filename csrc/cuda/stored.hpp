// Images by their storage type, which a kernel learns when it runs: the codelets are most of the code, and one copy of them
// serves float32, float16 and bfloat16. What reads or writes many numbers in a row asks for the type once (with_storage); what
// reads a few here and there asks for their width (with_word), and takes 16 bits for either type when it widens them.
#pragma once

#include "../core/storage.hpp"
#include "space.hpp"
#include "task.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class Storage>
struct As {
    using Type = Storage;
};

// body(As<Storage>{}) for the storage type of images that are computed with in T.
template <class T, class Body>
SOFTDIFF_INLINE void with_storage(Dtype dtype, Body body) {
    if constexpr (sizeof(T) == sizeof(double)) {
        body(As<double>{});
    } else {
        switch (dtype) {
            case Dtype::kFloat16: return body(As<Float16Bits>{});
            case Dtype::kBFloat16: return body(As<BFloat16Bits>{});
            default: return body(As<float>{});
        }
    }
}

// body(As<Word>{}), where a word is a number of T or the 16 bits of one.
template <class T, class Body>
SOFTDIFF_INLINE void with_word(Dtype dtype, Body body) {
    if constexpr (sizeof(T) == sizeof(double)) {
        body(As<double>{});
    } else if (dtype == Dtype::kFloat32) {
        body(As<float>{});
    } else {
        body(As<std::uint16_t>{});
    }
}
template <class Word>
SOFTDIFF_INLINE Word widen_word(Word word, Dtype) {
    return word;
}
SOFTDIFF_INLINE float widen_word(std::uint16_t word, Dtype dtype) {
    return dtype == Dtype::kFloat16 ? widen(Float16Bits{word}) : widen(BFloat16Bits{word});
}

// body(view) of an image from an offset on, in its storage type.
template <class Space, class T, class Body>
SOFTDIFF_INLINE void with_input(const void* data, Dtype dtype, std::int64_t offset, Body body) {
    with_storage<T>(dtype, [&](auto as) {
        using Storage = typename decltype(as)::Type;
        body(Space::global(static_cast<const Storage*>(data)) + offset);
    });
}

// body(view, As<Storage>{})
template <class Space, class T, class Body>
SOFTDIFF_INLINE void with_output(void* data, Dtype dtype, std::int64_t offset, Body body) {
    with_storage<T>(dtype, [&](auto as) {
        using Storage = typename decltype(as)::Type;
        body(Space::global(static_cast<Storage*>(data)) + offset, as);
    });
}

// One number of a result.
template <class Space, class T>
SOFTDIFF_INLINE void store_at(void* data, Dtype dtype, std::int64_t at, T value) {
    with_output<Space, T>(data, dtype, at, [&](auto to, auto as) { to[0] = Narrow<typename decltype(as)::Type>::from(value); });
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

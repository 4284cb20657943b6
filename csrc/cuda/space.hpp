// Where the phase functions of a kernel read and write. In a CUDA kernel a View<T> is a plain pointer; the emulator
// (emulation/) has one that keeps track of who wrote and read what. A View can be indexed and moved (view + n); view[i] reads
// and is assigned.
#pragma once

#include <cstdint>

#include "../core/config.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

#if defined(__CUDACC__)
extern __shared__ __align__(16) unsigned char block_memory[];
#endif

template <class T>
struct SharedPointer {
    int offset;  // in bytes

    SOFTDIFF_INLINE T& operator[](std::int64_t i) const {
#if defined(__CUDA_ARCH__)
        return *reinterpret_cast<T*>(block_memory + (offset + static_cast<int>(i) * static_cast<int>(sizeof(T))));
#else
        return reinterpret_cast<T*>(static_cast<std::intptr_t>(offset))[i];  // nobody calls it
#endif
    }
    SOFTDIFF_INLINE SharedPointer operator+(std::int64_t n) const {
        return {offset + static_cast<int>(n) * static_cast<int>(sizeof(T))};
    }
};

// A space is Device here, or emulation::Checked.
struct Device {
    template <class T>
    using View = T*;
    template <class T>
    using SharedView = SharedPointer<T>;
    struct Shared {};  // the memory of the block

    // Global memory; T may be const.
    template <class T>
    static SOFTDIFF_INLINE View<T> global(T* pointer) {
        return pointer;
    }
    // Shared memory of the block, from a byte offset that is a multiple of sizeof(T) on.
    template <class T>
    static SOFTDIFF_INLINE SharedView<T> shared(Shared, std::int64_t offset) {
        return {static_cast<int>(offset)};
    }
};

// A line of values for the codelets: every `stride`-th value of a view, as type T.
template <class T, class View>
struct Line {
    View data;
    int stride;
    SOFTDIFF_INLINE T operator[](int i) const { return static_cast<T>(data[static_cast<std::int64_t>(i) * stride]); }
    SOFTDIFF_INLINE void put(int i, T value) const { data[static_cast<std::int64_t>(i) * stride] = value; }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// The Space (cuda/space.hpp) of the emulator: views whose every access the Machine sees.
#pragma once

#include <type_traits>

#include "../cuda/space.hpp"
#include "machine.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T>
struct CheckedReference {
    using Value = std::remove_const_t<T>;
    T* at;
    emulation::Region* region;

    operator Value() const {  // NOLINT(google-explicit-constructor): it stands for a value
        return emulation::Machine::instance().on_read(region, at, sizeof(T)) ? *at : Value{};
    }
    const CheckedReference& operator=(Value value) const {
        if (emulation::Machine::instance().on_write(region, at, sizeof(T))) *at = value;
        return *this;
    }
    const CheckedReference& operator=(const CheckedReference& other) const { return *this = static_cast<Value>(other); }
    const CheckedReference& operator+=(Value value) const { return *this = static_cast<Value>(*this) + value; }
    const CheckedReference& operator*=(Value value) const { return *this = static_cast<Value>(*this) * value; }
};

template <class T>
struct CheckedView {
    T* pointer = nullptr;
    emulation::Region* region = nullptr;

    CheckedReference<T> operator[](std::int64_t i) const { return {pointer + i, region}; }
    CheckedView operator+(std::int64_t n) const { return {pointer + n, region}; }
    CheckedView operator-(std::int64_t n) const { return {pointer - n, region}; }
    CheckedView& operator+=(std::int64_t n) {
        pointer += n;
        return *this;
    }
    explicit operator bool() const { return pointer != nullptr; }
};

struct Checked {
    template <class T>
    using View = CheckedView<T>;
    template <class T>
    using SharedView = CheckedView<T>;
    using Shared = unsigned char*;

    template <class T>
    static View<T> global(T* pointer) {
        return {pointer, emulation::Machine::instance().find(pointer)};
    }
    template <class T>
    static View<T> shared(Shared base, std::int64_t offset) {
        return {reinterpret_cast<T*>(base + offset), emulation::Machine::instance().find(base)};
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

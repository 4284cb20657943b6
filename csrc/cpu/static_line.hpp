// Lines of the commonest lengths with every address a literal in the code, in the order of their plans (plan.hpp). `filter` of
// several lines is a whole row stage: C2 of each line, mix(k, values) of output k (mix.hpp), C3 of that back to the first line;
// between the transforms pause(0), .. pause(kPauses - 1).
#pragma once

#include "../core/codelets.hpp"
#include "mix.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Keeps the compiler from mixing two transforms: more live values than registers.
SOFTDIFF_INLINE void finish_transform() { asm volatile("" : : : "memory"); }

// Takes output k of the last of `Terms` transforms, and mixes it with those of the others at once.
template <int Terms, class V, class Mix>
struct Mixed {
    V* data;
    const V (*others)[Terms];  // [k][term]; the last place is free
    Mix mix;
    int first;
    SOFTDIFF_INLINE void put(int k, V value) const {
        V values[Terms];
        SOFTDIFF_UNROLL
        for (int i = 0; i < Terms - 1; ++i) values[i] = others[k][i];
        values[Terms - 1] = value;
        data[k] = mix(first + k, values);
    }
};

// Takes the outputs of one of `Terms` transforms.
template <int Terms, class V>
struct OneOf {
    V (*data)[Terms];
    int term;
    SOFTDIFF_INLINE void put(int k, V value) const { data[k][term] = value; }
};

// A line that is one codelet.
template <class T, int N>
struct WholeLine {
    using V = Vec<T>;
    using Code = Codelet<V, T, N>;

    template <class In>
    static SOFTDIFF_INLINE void forward(In x, V* __restrict y) {
        Code::dct2(x, Values<V>{y});
    }
    template <class Out>
    static SOFTDIFF_INLINE void inverse(const V* __restrict x, Out y) {
        Code::dct3(Values<const V>{x}, y);
    }
    // C3 (gain . C2 x) from one view to another.
    template <class In, class Out>
    static SOFTDIFF_INLINE void filter(In x, const T* gain, Out y) {
        V middle[N];
        Code::dct2(x, Mixed<1, V, ColumnMix<T>>{middle, nullptr, {gain}, 0});
        finish_transform();
        Code::dct3(Values<V>{middle}, y);
    }
    template <int Terms>
    static constexpr int kPauses = 0;  // too few to be worth it
    template <int Terms, class Mix, class Pause>
    static SOFTDIFF_INLINE void filter(V (*line)[N], Mix mix, Pause) {
        V others[N][Terms], mixed[N];
        for (int i = 0; i < Terms - 1; ++i) {
            Code::dct2(Values<V>{line[i]}, OneOf<Terms, V>{others, i});
            finish_transform();
        }
        Code::dct2(Values<V>{line[Terms - 1]}, Mixed<Terms, V, Mix>{mixed, others, mix, 0});
        finish_transform();
        Code::dct3(Values<V>{mixed}, Values<V>{line[0]});
    }
};

// A line of two codelets: C2 of the sums x[i] + x[N-1-i] for the even outputs, C4 of the differences for the odd ones. Sums and
// differences are formed where the first codelet reads them, and the results put together where the last one has them.
template <class T, int N>
struct HalvedLine {
    using V = Vec<T>;
    static constexpr int M = N / 2;
    using Code = Codelet<V, T, M>;

    template <class In>
    struct Sums {
        In x;
        V* difference;
        SOFTDIFF_INLINE V operator[](int i) const {
            const V p = x[i], q = x[N - 1 - i];
            difference[i] = p - q;
            return p + q;
        }
    };
    template <class Out>
    struct Halves {
        Out y;
        const V* even;
        SOFTDIFF_INLINE void put(int i, V odd) const {
            y.put(i, even[i] + odd);
            y.put(N - 1 - i, even[i] - odd);
        }
    };

    template <class In>
    static SOFTDIFF_INLINE void forward(In x, V* __restrict y) {
        V difference[M];
        Code::dct2(Sums<In>{x, difference}, Values<V>{y});
        finish_transform();
        Code::dct4(Values<V>{difference}, Values<V>{y + M});
    }
    template <class Out>
    static SOFTDIFF_INLINE void inverse(const V* __restrict x, Out y) {
        V even[M];
        Code::dct3(Values<const V>{x}, Values<V>{even});
        finish_transform();
        Code::dct4(Values<const V>{x + M}, Halves<Out>{y, even});
    }
    template <int Terms>
    static constexpr int kPauses = 2 * Terms + 1;
    template <int Terms, class Mix, class Pause>
    static SOFTDIFF_INLINE void filter(V (*line)[N], Mix mix, Pause pause) {
        V difference[Terms][M], others[M][Terms], mixed[M], even[M];
        SOFTDIFF_UNROLL
        for (int i = 0; i < Terms - 1; ++i) {
            Code::dct2(Sums<Values<V>>{{line[i]}, difference[i]}, OneOf<Terms, V>{others, i});
            finish_transform();
            pause(i);
        }
        Code::dct2(Sums<Values<V>>{{line[Terms - 1]}, difference[Terms - 1]}, Mixed<Terms, V, Mix>{mixed, others, mix, 0});
        finish_transform();
        pause(Terms - 1);
        Code::dct3(Values<V>{mixed}, Values<V>{even});
        finish_transform();
        pause(Terms);
        SOFTDIFF_UNROLL
        for (int i = 0; i < Terms - 1; ++i) {
            Code::dct4(Values<V>{difference[i]}, OneOf<Terms, V>{others, i});
            finish_transform();
            pause(Terms + 1 + i);
        }
        Code::dct4(Values<V>{difference[Terms - 1]}, Mixed<Terms, V, Mix>{mixed, others, mix, M});
        finish_transform();
        pause(2 * Terms);
        Code::dct4(Values<V>{mixed}, Halves<Values<V>>{{line[0]}, even});
    }
};

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

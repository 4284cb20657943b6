// The kernels of one instruction set and one arithmetic type; CMake compiles this file once for each pair, with
//   SOFTDIFF_ISA              the name of the instruction set (a namespace, see core/config.hpp)
//   SOFTDIFF_VECTOR_BYTES     the size of its vectors
//   SOFTDIFF_ARITHMETIC       float or double
#include "kernels.hpp"
#include "axis_transform.hpp"
#include "combine.hpp"
#include "correlation.hpp"
#include "pack_kernels.hpp"
#include "row_product.hpp"
#include "separable.hpp"
#include "transform.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

using Arithmetic = SOFTDIFF_ARITHMETIC;

template <>
void combine<Arithmetic>(const CombineTask& task) {
    if (Pack<Arithmetic>::fits(task.batch * task.channels, task.height, task.width))
        return for_each_plane<PackCombine<Arithmetic>, Pack<Arithmetic>>(task);
    if (SeparableFilter<Arithmetic>::fits(task)) return for_each_plane<SeparableFilter<Arithmetic>, Plane<Arithmetic>>(task);
    for_each_plane<Combine<Arithmetic>, Plane<Arithmetic>>(task);
}

template <>
void transform<Arithmetic>(const TransformTask& task) {
    if (task.axes == Axes::kRows)
        return RowProduct<Arithmetic>::fits(task.width) ? RowProduct<Arithmetic>::run(task)
                                                        : RowTransform<Arithmetic>::run(task);
    if (task.axes == Axes::kColumns)
        return with_storage<Arithmetic>(task.dtype,
                                        [&](auto storage) { ColumnTransform<Arithmetic, decltype(storage)>::run(task); });
    if (Pack<Arithmetic>::fits(task.batch * task.channels, task.height, task.width))
        return for_each_plane<PackTransform<Arithmetic>, Pack<Arithmetic>>(task);
    for_each_plane<PlaneTransform<Arithmetic>, Plane<Arithmetic>>(task);
}

template <>
void energy<Arithmetic>(const EnergyTask& task) {
    Energy<Arithmetic>::run(task);
}

template <>
void correlation<Arithmetic>(const CorrelationTask& task) {
    Correlation<Arithmetic>::run(task);
}

template <>
void normal<Arithmetic>(const NormalTask& task) {
    using T = Arithmetic;
    constexpr std::int64_t kChunk = 64 * kNormalBlock;
    const std::int64_t chunks = (task.size + kChunk - 1) / kChunk;
    with_storage<T>(task.dtype, [&](auto storage) {
        using Storage = decltype(storage);
        for_each_range(chunks, task.size, task.threads, (kChunk + kNormalSlack) * sizeof(T) + 64,
                       [&](Arena& arena, std::int64_t first, std::int64_t last) {
                           T* buffer = arena.take<T>(kChunk + kNormalSlack);
                           for (std::int64_t chunk = first; chunk < last; ++chunk) {
                               const std::int64_t begin = chunk * kChunk, count = std::min(kChunk, task.size - begin);
                               Storage* out = static_cast<Storage*>(task.out) + begin;
                               if constexpr (std::is_same_v<T, Storage>) {
                                   if (count == kChunk) {  // whole blocks go where they belong
                                       normal_run(begin, count, task.seed, out);
                                       continue;
                                   }
                               }
                               convert_run_back(normal_run(begin, count, task.seed, buffer), out, count);
                           }
                       });
    });
}

template <>
void coefficients<Arithmetic>(const CoefficientTask& task) {
    using T = Arithmetic;
    const std::int64_t area = task.height * task.width;
    const double row_step = kPi / static_cast<double>(task.height), column_step = kPi / static_cast<double>(task.width);
    for (std::int64_t b = 0; b < task.batch; ++b) {
        const Level s = task.s.at(b), t = task.t.at(b);
        const auto constants = make_step_constants<T>(s, t, task.rule, task.parameter, task.prediction);
        T* p = static_cast<T*>(task.out) + b * 3 * area;
        for (std::int64_t h = 0; h < task.height; ++h) {
            for (std::int64_t w = 0; w < task.width; ++w, ++p) {
                const double row = row_step * static_cast<double>(h), column = column_step * static_cast<double>(w);
                const double lam = row * row + column * column;
                const auto c = step_coefficients<T, T>(
                    constants, static_cast<T>(std::exp(-lam * s.tau)), static_cast<T>(std::expm1(-lam * (t.tau - s.tau))),
                    static_cast<T>(std::exp(-lam * (t.tau - s.tau))), [](T v) { return std::sqrt(std::max(v, T{0})); });
                p[0] = c.p;
                p[area] = c.q;
                p[2 * area] = c.w;
            }
        }
    }
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// Which kernels serve a task: those without a transform, those for squares of float32 and 16 bits that have codelets, those of
// tiles for everything else.
// `Launcher` is CUDA's or the emulator's (launch.hpp), T the type of the arithmetic.
#pragma once

#include <algorithm>

#include "generic.hpp"
#include "halves.hpp"
#include "pointwise.hpp"
#include "square_combine.hpp"
#include "square_transform.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr std::int64_t kMostPlanes = std::int64_t{1} << 31;  // of square kernels, which count them in 32 bits

// body(std::integral_constant<int, N>{}) where square kernels exist for the sides and the arithmetic, and count the planes;
// whether they do. In float64, which a GPU rarely computes in, every size is one of tiles.
template <class T, class Body>
bool with_square(std::int64_t height, std::int64_t width, std::int64_t planes, Body body) {
    if constexpr (std::is_same_v<T, float>) {
        if (height != width || planes >= kMostPlanes) return false;
        switch (height) {
            case 8: return body(std::integral_constant<int, 8>{}), true;
            case 16: return body(std::integral_constant<int, 16>{}), true;
            case 28: return body(std::integral_constant<int, 28>{}), true;
            case 32: return body(std::integral_constant<int, 32>{}), true;
            case 64: return body(std::integral_constant<int, 64>{}), true;
            case 128: return body(std::integral_constant<int, 128>{}), true;
            default: break;
        }
    }
    return false;
}

template <class Kernel, class Launcher>
void launch(Launcher& launcher, typename Kernel::Params params) {
    const LaunchShape shape = Kernel::shape(params);
    launcher.template run<Kernel>(shape, params);
}

template <class T, class Launcher>
void run_combine(const cuda::Combine& task, Launcher& launcher) {
    CombineParams params = combine_params(task);
    if (params.planes == 0 || task.height == 0 || task.width == 0) return;
    if (params.spectral_terms == 0 && !params.spectral_noise) return launch<PointwiseCombine<T>>(launcher, params);
    params.channels_apart = Divider::of(std::min<std::int64_t>(task.channels, INT32_MAX));
    bool taken = false;
    with_square<T>(task.height, task.width, params.planes, [&](auto side) {
        constexpr int kSide = decltype(side)::value;
        taken = true;
        if (SquareLevel<kSide, T>::takes(params)) return launch<SquareLevel<kSide, T>>(launcher, params);
        if (SquareCombine<kSide, T>::takes(params)) return launch<SquareCombine<kSide, T>>(launcher, params);
        taken = false;
    });
    if constexpr (std::is_same_v<T, float>) {
        const bool square = task.height == task.width && params.planes < kMostPlanes;
        if (!taken && square && task.width == 128 && halves_take<128, T>(params))
            return halves_combine<128, T>(params, launcher);
        if (!taken && square && task.width == 256 && halves_take<256, T>(params))
            return halves_combine<256, T>(params, launcher);
    }
    if (!taken) generic_combine<T>(params, launcher);
}

template <class T, class Launcher>
void run_transform(const cuda::Transform& task, Launcher& launcher) {
    if (task.batch * task.channels * task.height * task.width == 0) return;
    const std::int64_t planes = task.batch * task.channels;
    const bool square = !task.rows_only && with_square<T>(task.height, task.width, planes, [&](auto side) {
        launch<SquareTransform<decltype(side)::value, T>>(launcher, {task, planes, 0, Divider::of(task.channels)});
    });
    if (!square) generic_transform<T>(task, launcher);
}

template <class T, class Launcher>
void run_energy(const cuda::Energy& task, Launcher& launcher) {
    if (task.batch == 0) return;
    void* partial = launcher.workspace(task.batch * task.channels * static_cast<std::int64_t>(sizeof(T)));
    generic_energy<T>(task, partial, launcher);
    launch<SumChannels<T>>(launcher, {partial, task.out, task.batch, task.channels});
}

template <class T, class Launcher>
void run_normal(const cuda::Normal& task, Launcher& launcher) {
    launch<FillNormal<T>>(launcher, NormalParams{task});
}

template <class T, class Launcher>
void run_coefficients(const cuda::Coefficients& task, Launcher& launcher) {
    launch<StepMaps<T>>(launcher, CoefficientParams{task});
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

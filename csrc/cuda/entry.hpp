// Which kernels serve a task: those without a transform, those for squares that have codelets, those for every other size.
// `Launcher` is CUDA's or the emulator's (launch.hpp), Storage the type of the task.
#pragma once

#include <algorithm>

#include "generic.hpp"
#include "pointwise.hpp"
#include "square_transform.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// Whether square kernels exist for the sides and the arithmetic: a line of doubles of more than 32 would not fit into
// registers.
inline bool has_square(std::int64_t height, std::int64_t width, Dtype dtype) {
    if (height != width) return false;
    const bool short_line = height == 8 || height == 16 || height == 28 || height == 32;
    return short_line || (dtype != Dtype::kFloat64 && (height == 64 || height == 128));
}

// body(std::integral_constant<int, N>{}) for a side that has square kernels.
template <class Storage, class Body>
void with_square(std::int64_t side, Body body) {
    switch (side) {
        case 8: return body(std::integral_constant<int, 8>{});
        case 16: return body(std::integral_constant<int, 16>{});
        case 28: return body(std::integral_constant<int, 28>{});
        case 32: return body(std::integral_constant<int, 32>{});
        default: break;
    }
    if constexpr (!std::is_same_v<Storage, double>) {
        if (side == 64) return body(std::integral_constant<int, 64>{});
        return body(std::integral_constant<int, 128>{});
    }
}

template <class Kernel, class Launcher>
void launch(Launcher& launcher, typename Kernel::Params params) {
    const LaunchShape shape = Kernel::shape(params);
    launcher.template run<Kernel>(shape, params);
}

template <class Storage, class Launcher>
void run_combine(const cuda::Combine& task, Launcher& launcher) {
    CombineParams params = combine_params(task);
    if (params.planes == 0 || task.height == 0 || task.width == 0) return;
    if (params.spectral_terms == 0 && !params.spectral_noise) return launch<PointwiseCombine<Storage>>(launcher, params);
    bool taken = false;
    if (has_square(task.height, task.width, task.dtype)) {
        with_square<Storage>(task.height, [&](auto side) {
            constexpr int kSide = decltype(side)::value;
            taken = true;
            if (SquareLevel<kSide, Storage>::takes(params)) return launch<SquareLevel<kSide, Storage>>(launcher, params);
            if (SquareCombine<kSide, Storage>::takes(params)) return launch<SquareCombine<kSide, Storage>>(launcher, params);
            taken = false;
        });
    }
    if (!taken) generic_combine<Storage>(params, launcher);
}

template <class Storage, class Launcher>
void run_transform(const cuda::Transform& task, Launcher& launcher) {
    if (task.batch * task.channels * task.height * task.width == 0) return;
    if (task.rows_only || !has_square(task.height, task.width, task.dtype)) return generic_transform<Storage>(task, launcher);
    with_square<Storage>(task.height, [&](auto side) {
        launch<SquareTransform<decltype(side)::value, Storage>>(launcher, {task, task.batch * task.channels, 0});
    });
}

template <class Storage, class Launcher>
void run_energy(const cuda::Energy& task, Launcher& launcher) {
    if (task.batch == 0) return;
    using T = typename ArithmeticOf<Storage>::Type;
    const std::int64_t planes = task.batch * task.channels;
    void* partial = launcher.workspace(planes * static_cast<std::int64_t>(sizeof(T)));
    if (has_square(task.height, task.width, task.dtype)) {
        with_square<Storage>(task.height, [&](auto side) {
            launch<SquareEnergy<decltype(side)::value, Storage>>(launcher, {task, planes, 0, partial});
        });
    } else {
        generic_energy<Storage>(task, partial, launcher);
    }
    launch<SumChannels<T>>(launcher, {partial, task.out, task.batch, task.channels});
}

template <class Storage, class Launcher>
void run_normal(const cuda::Normal& task, Launcher& launcher) {
    launch<FillNormal<Storage>>(launcher, NormalParams{task});
}

template <class Storage, class Launcher>
void run_coefficients(const cuda::Coefficients& task, Launcher& launcher) {
    launch<StepMaps<Storage>>(launcher, CoefficientParams{task});
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

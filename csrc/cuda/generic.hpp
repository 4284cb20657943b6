// The tasks that square.hpp does not take: carries out the plans of tile_plans.hpp.
#pragma once

#include "pointwise.hpp"
#include "tile_plans.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

template <class T, class Launcher>
void launch_tiles(Launcher& launcher, const TilePass<T>& pass, std::int64_t blocks) {
    if (pass.in_global_memory) {
        launcher.template run<TileKernel<T, true>>(pass.shape(blocks), pass.params);
    } else {
        launcher.template run<TileKernel<T, false>>(pass.shape(blocks), pass.params);
    }
}

// One pass over planes first .. first + count - 1, in as many launches as it takes.
template <class T, class Launcher>
void run_pass(Launcher& launcher, TilePass<T>& pass, std::int64_t channels, std::int64_t first, std::int64_t count) {
    TileParams<T>& p = pass.params;
    T* const partial = p.partial;
    p.scratch_plane = first;
    p.one_sample = channels >= kMostBlocks;  // what kernels divide is below 2^31
    if (!p.one_sample) p.channels_apart = Divider::of(channels);
    const std::int64_t panels = std::min(pass.panels, pass.most_blocks);
    const std::int64_t most_planes = std::max<std::int64_t>(1, pass.most_blocks / panels);
    for (std::int64_t plane = first, planes = 0; plane < first + count; plane += planes) {
        p.first_plane = plane;
        p.first_sample = plane / channels;
        p.first_channel = plane % channels;
        planes = std::min(most_planes, first + count - plane);
        if (p.one_sample) planes = std::min(planes, channels - p.first_channel);
        for (std::int64_t panel = 0; panel < pass.panels; panel += panels) {
            p.first_panel = panel;
            p.partial = partial ? partial + (plane * pass.panels + panel) : nullptr;
            launch_tiles(launcher, pass, planes * std::min(panels, pass.panels - panel));
        }
    }
    p.partial = partial;
}

template <class T, class Launcher>
void run_plan(Launcher& launcher, TilePlan<T>& plan) {
    if (plan.planes == 0) return;
    T* scratch = nullptr;
    if (plan.scratch_tensors > 0)
        scratch = static_cast<T*>(
            launcher.workspace(plan.scratch_tensors * plan.scratch_values() * static_cast<std::int64_t>(sizeof(T))));
    std::int64_t tile_bytes = 0;
    for (const TilePass<T>& pass : plan.passes)
        if (pass.in_global_memory)
            tile_bytes = std::max(tile_bytes, pass.block_bytes() * std::min(pass.most_blocks, plan.chunk * pass.panels));
    T* const memory = tile_bytes > 0 ? static_cast<T*>(launcher.workspace(tile_bytes)) : nullptr;

    LineTables<T> line[2];
    for (const int axis : {kColumns, kRows}) {
        line[axis] = plan.passes[0].params.line[axis];
        if (line[axis].size > 0) line[axis] = line_tables<T>(line[axis].size, launcher);
    }
    const auto put_in = [&](Port& port) {
        if (port.scratch)
            port.image.data = scratch + (reinterpret_cast<std::intptr_t>(port.image.data) - 1) * plan.scratch_values();
    };
    for (TilePass<T>& pass : plan.passes) {
        TileParams<T>& p = pass.params;
        for (Port& port : p.source) put_in(port);
        put_in(p.out);
        std::copy_n(line, 2, p.line);
        if (pass.in_global_memory) p.memory = memory;
    }
    for (std::int64_t first = 0; first < plan.planes; first += plan.chunk)
        for (TilePass<T>& pass : plan.passes)
            run_pass(launcher, pass, plan.channels, first, std::min(plan.chunk, plan.planes - first));
}

template <class T, class Launcher>
void generic_combine(const CombineParams& params, Launcher& launcher) {
    TilePlan<T> plan = plan_combine<T>(params, launcher.most_scratch_bytes());
    run_plan(launcher, plan);
}

template <class T, class Launcher>
void generic_transform(const cuda::Transform& task, Launcher& launcher) {
    TilePlan<T> plan = plan_transform<T>(task, launcher.most_scratch_bytes());
    run_plan(launcher, plan);
}

// Per plane into `partial` [batch channels], in the type of the arithmetic.
template <class T, class Launcher>
void generic_energy(const cuda::Energy& task, void* partial, Launcher& launcher) {
    TilePlan<T> plan = plan_energy<T>(task, launcher.most_scratch_bytes());
    if (plan.planes == 0) return;
    TilePass<T>& last = plan.passes.back();
    const std::int64_t panels = last.panels;
    last.params.partial = static_cast<T*>(
        panels == 1 ? partial : launcher.workspace(plan.planes * panels * static_cast<std::int64_t>(sizeof(T))));
    run_plan(launcher, plan);
    if (panels == 1) return;
    const SumParams sum{last.params.partial, partial, plan.planes, panels};
    launcher.template run<SumChannels<T>>(SumChannels<T>::shape(sum), sum);
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

// The tasks that square.hpp does not take (other sizes, float64, energies) as passes: pure functions of the task.
#pragma once

#include <vector>

#include "tile_program.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

// A task as launches: the passes of a chunk of planes, one after the other.
template <class T>
struct TilePlan {
    std::vector<TilePass<T>> passes;
    std::int64_t planes = 0, channels = 0, height = 0, width = 0;
    std::int64_t chunk = 0;   // planes
    int scratch_tensors = 0;  // of a chunk

    std::int64_t scratch_values() const { return chunk * height * width; }  // of each
};

namespace detail {

inline Port port_of(const Image& image, Dtype dtype) { return {image, dtype, false}; }
inline Port contiguous(void* data, std::int64_t channels, std::int64_t height, std::int64_t width, Dtype dtype) {
    return {{data, {channels * height * width, height * width, width, 1}}, dtype, false};
}
// Its memory is put in when the plan is carried out: until then `data` is the number of the tensor, from 1 on.
template <class T>
Port scratch_port(int index, std::int64_t height, std::int64_t width) {
    const Dtype dtype = sizeof(T) == sizeof(double) ? Dtype::kFloat64 : Dtype::kFloat32;
    return {{reinterpret_cast<const void*>(static_cast<std::intptr_t>(index + 1)), {0, height * width, width, 1}}, dtype, true};
}

// A transform of rows only has no tables of columns, however many rows there are.
template <class T, class Task>
TilePass<T> pass_of(const Task& task, bool rows_only = false) {
    TilePass<T> pass;
    TileParams<T>& p = pass.params;
    p.height = task.height;
    p.width = task.width;
    if (!rows_only) p.line[kColumns] = host_line<T>(task.height).shape();
    p.line[kRows] = host_line<T>(task.width).shape();
    p.out = contiguous(task.out, task.channels, task.height, task.width, task.dtype);
    return pass;
}

template <class T, class Task>
TilePlan<T> plan_of(const Task& task) {
    TilePlan<T> plan;
    plan.planes = plan.chunk = task.batch * task.channels;
    plan.channels = task.channels;
    plan.height = task.height;
    plan.width = task.width;
    return plan;
}

template <class T>
void use_scratch(TilePlan<T>& plan, int tensors, std::int64_t scratch_bytes) {
    plan.scratch_tensors = tensors;
    const std::int64_t plane_bytes = plan.height * plan.width * tensors * static_cast<std::int64_t>(sizeof(T));
    plan.chunk = planes_of_chunk(plan.planes, plane_bytes, scratch_bytes);
}

}  // namespace detail

// ---- combinations -----------------------------------------------------------------------------------------------------------

namespace detail {

// Pixel terms and noise, where there are any, and the result, from the first tile.
template <class T>
void end_in_pixels(TileProgram<T>& program, const CombineParams& combine) {
    const bool adds = combine.pixel_terms > 0 || combine.pixel_noise;
    program.inverse(kColumns, !adds);
    if (combine.pixel_noise) program.add(Operation::kNoise);
    if (adds) program.add(Operation::kStore, kColumns, combine.pixel_terms > 0 ? 1 : 0);
}

template <class T>
void begin_rows(TileProgram<T>& program, const CombineParams& combine) {
    program.add(Operation::kGains, kColumns, 0, false, true);
    if (combine.spectral_noise) program.add(Operation::kNoise, kColumns, 0, false, true);
}

}  // namespace detail

template <class T>
TilePlan<T> plan_combine(const CombineParams& combine, std::int64_t scratch_bytes) {
    const cuda::Combine& task = combine.task;
    TilePlan<T> plan = detail::plan_of<T>(task);
    TilePass<T> pass = detail::pass_of<T>(task);
    pass.params.combine = combine;
    const int tiles = combine.spectral_terms;
    int terms = 0;
    for (int i = 0; i < kTerms; ++i) {
        if (!combine.spectral[i]) continue;
        pass.params.source[terms] = detail::port_of(task.term[i], task.dtype);
        pass.params.term_of[terms++] = i;
    }
    const TileNeeds all{tiles, true, combine.spectral_noise, false};
    if (fits_whole(pass, all)) {
        choose_tiles(pass, Tiling::kWhole, plan.planes, all);
        TileProgram<T> program(pass, tiles);
        detail::begin_rows(program, combine);
        if (tiles > 0) {
            program.forward(kColumns, true);
            program.last_butterflies(kColumns);
            program.forward(kRows, false);
        }
        program.add(Operation::kMix, kRows);
        program.keep_first_tile();
        program.inverse(kRows, false);
        program.last_butterflies(kColumns);
        detail::end_in_pixels(program, combine);
        plan.passes = {pass};
        return plan;
    }

    detail::use_scratch(plan, std::max(tiles, 1), scratch_bytes);
    const auto scratch = [&](int i) { return detail::scratch_port<T>(i, task.height, task.width); };
    for (int i = 0; i < tiles; ++i) {
        TilePass<T> columns = pass;
        columns.params.source[0] = pass.params.source[i];
        columns.params.out = scratch(i);
        choose_tiles(columns, Tiling::kColumnPanels, plan.planes, {});
        TileProgram<T> program(columns, 1);
        program.forward(kColumns, true);
        program.add(Operation::kStoreOutputs);
        plan.passes.push_back(columns);
    }
    {
        TilePass<T> rows = pass;
        for (int i = 0; i < tiles; ++i) rows.params.source[i] = scratch(i);
        rows.params.out = scratch(0);
        choose_tiles(rows, Tiling::kRowPanels, plan.planes, all);
        TileProgram<T> program(rows, tiles);
        detail::begin_rows(program, combine);
        if (tiles > 0) program.forward(kRows, true);
        program.add(Operation::kMix, kRows);
        program.keep_first_tile();
        program.inverse(kRows, true);
        plan.passes.push_back(rows);
    }
    TilePass<T> columns = pass;
    columns.params.source[0] = scratch(0);
    const bool gains = combine.pixel_terms > 0 || combine.pixel_noise;
    choose_tiles(columns, Tiling::kColumnPanels, plan.planes, {1, gains, false, false});
    TileProgram<T> program(columns, 1);
    if (gains) program.add(Operation::kGains);
    program.add(Operation::kLoadOutputs);
    detail::end_in_pixels(program, combine);
    plan.passes.push_back(columns);
    return plan;
}

// ---- transforms -------------------------------------------------------------------------------------------------------------

namespace detail {

template <class T>
void rows_to_coefficients(TileProgram<T>& program, bool from_image) {
    program.forward(kRows, from_image);
    program.last_butterflies(kRows);
    program.add(Operation::kStore, kRows, 0, false, true);
}
template <class T>
void coefficients_to_rows(TileProgram<T>& program, bool to_image) {
    program.add(Operation::kLoad, kRows, 0, false, true);
    program.last_butterflies(kRows);
    program.inverse(kRows, to_image);
}

}  // namespace detail

template <class T>
TilePlan<T> plan_transform(const cuda::Transform& task, std::int64_t scratch_bytes) {
    TilePlan<T> plan = detail::plan_of<T>(task);
    TilePass<T> pass = detail::pass_of<T>(task, task.rows_only);
    pass.params.source[0] = detail::port_of(task.input, task.dtype);
    if (task.rows_only) {
        choose_tiles(pass, Tiling::kRowPanels, plan.planes, {});
        TileProgram<T> program(pass, 1);
        task.inverse ? detail::coefficients_to_rows(program, true) : detail::rows_to_coefficients(program, true);
        plan.passes = {pass};
        return plan;
    }
    if (fits_whole(pass, {})) {
        choose_tiles(pass, Tiling::kWhole, plan.planes, {});
        TileProgram<T> program(pass, 1);
        if (task.inverse) {
            detail::coefficients_to_rows(program, false);
            program.last_butterflies(kColumns);
            program.inverse(kColumns, true);
        } else {
            program.forward(kColumns, true);
            program.last_butterflies(kColumns);
            detail::rows_to_coefficients(program, false);
        }
        plan.passes = {pass};
        return plan;
    }
    detail::use_scratch(plan, 1, scratch_bytes);
    TilePass<T> columns = pass, rows = pass;
    const Port scratch = detail::scratch_port<T>(0, task.height, task.width);
    choose_tiles(columns, Tiling::kColumnPanels, plan.planes, {});
    choose_tiles(rows, Tiling::kRowPanels, plan.planes, {});
    TileProgram<T> of_columns(columns, 1), of_rows(rows, 1);
    if (task.inverse) {
        columns.params.source[0] = rows.params.out = scratch;
        detail::coefficients_to_rows(of_rows, true);
        of_columns.add(Operation::kLoadOutputs);
        of_columns.inverse(kColumns, true);
        plan.passes = {rows, columns};
    } else {
        columns.params.out = rows.params.source[0] = scratch;
        of_columns.forward(kColumns, true);
        of_columns.add(Operation::kStoreOutputs);
        detail::rows_to_coefficients(of_rows, true);
        plan.passes = {columns, rows};
    }
    return plan;
}

// ---- energies ---------------------------------------------------------------------------------------------------------------

namespace detail {

template <class T>
void rows_to_energy(TileProgram<T>& program, bool from_image) {
    program.forward(kRows, from_image);
    program.add(Operation::kSquares, kRows);
    program.add(Operation::kSum, kRows, 0);
    program.add(Operation::kSum, kRows, 1);
}

template <class T>
void difference_to_columns(TileProgram<T>& program) {
    program.add(Operation::kLoad, kColumns, 1);
    program.forward(kColumns, false);
}

}  // namespace detail

// The last pass writes the sum of each of its blocks.
template <class T>
TilePlan<T> plan_energy(const cuda::Energy& task, std::int64_t scratch_bytes) {
    TilePlan<T> plan = detail::plan_of<T>(task);
    TilePass<T> pass = detail::pass_of<T>(task);
    pass.params.source[0] = detail::port_of(task.a, task.dtype);
    pass.params.source[1] = detail::port_of(task.b, task.dtype);
    cuda::Combine& level = pass.params.combine.task;
    level.kind = GainKind::kLevel;
    level.power = 1;
    level.t = task.level;
    const TileNeeds needs{1, true, false, true};
    if (fits_whole(pass, needs)) {
        choose_tiles(pass, Tiling::kWhole, plan.planes, needs);
        TileProgram<T> program(pass, 1);
        program.add(Operation::kGains, kColumns, 0, false, true);
        detail::difference_to_columns(program);
        program.last_butterflies(kColumns);
        detail::rows_to_energy(program, false);
        plan.passes = {pass};
        return plan;
    }
    detail::use_scratch(plan, 1, scratch_bytes);
    TilePass<T> columns = pass, rows = pass;
    columns.params.out = rows.params.source[0] = detail::scratch_port<T>(0, task.height, task.width);
    choose_tiles(columns, Tiling::kColumnPanels, plan.planes, {});
    choose_tiles(rows, Tiling::kRowPanels, plan.planes, needs);
    TileProgram<T> of_columns(columns, 1), of_rows(rows, 1);
    detail::difference_to_columns(of_columns);
    of_columns.add(Operation::kStoreOutputs);
    of_rows.add(Operation::kGains, kColumns, 0, false, true);
    detail::rows_to_energy(of_rows, true);
    plan.passes = {columns, rows};
    return plan;
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

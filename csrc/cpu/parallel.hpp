// Splits planes over threads in contiguous runs, so that neighbouring planes of one sample share their gains. Every plane is
// computed the same way whichever thread takes it: results do not depend on the thread count.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <new>

#include "../core/config.hpp"
#include "flush.hpp"
#include "scratch.hpp"

namespace softdiff {
inline namespace SOFTDIFF_ISA {

constexpr std::int64_t kWorkPerThread = 16384;  // elements; below that, waking a thread costs more than it saves

// body(Arena&, first, last) is called once per thread with a block of `scratch_bytes`.
template <class Body>
void for_each_range(std::int64_t count, std::int64_t work, int threads, std::size_t scratch_bytes, Body body) {
    const std::int64_t useful = std::max<std::int64_t>(1, std::min(count, work / kWorkPerThread));
    const int team = static_cast<int>(std::min<std::int64_t>(std::max(threads, 1), useful));
    std::atomic<bool> out_of_memory{false};
    const auto run = [&](int thread) {
        void* block = acquire_scratch(scratch_bytes);
        if (!block) {
            out_of_memory = true;
            return;
        }
        Arena arena(block);
        const FlushSubnormals flush;
        body(arena, count * thread / team, count * (thread + 1) / team);
        release_scratch();
    };
    if (team == 1) {
        run(0);
    } else {
        // A team smaller than asked for (OMP_THREAD_LIMIT) still has to do all the shares.
#pragma omp parallel num_threads(team)
        for (int share = omp_get_thread_num(); share < team; share += omp_get_num_threads()) run(share);
    }
    if (out_of_memory) throw std::bad_alloc();
}

// Kernel(task, plane, arena).run(first, last) over the planes of the task, a Kernel for each thread. The kernel's constructor
// says what scratch it needs: it is called once with an arena that only adds up.
template <class Kernel, class Plane, class Task>
void for_each_plane(const Task& task) {
    const Plane plane(task.height, task.width);
    const std::int64_t planes = task.batch * task.channels;
    Arena needed(nullptr);
    Kernel(task, plane, needed);
    for_each_range(planes, planes * task.height * task.width, task.threads, needed.used(),
                   [&](Arena& arena, std::int64_t first, std::int64_t last) {
                       Kernel kernel(task, plane, arena);
                       kernel.run(first, last);
                   });
}

}  // namespace SOFTDIFF_ISA
}  // namespace softdiff

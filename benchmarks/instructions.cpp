// What instructions.py counts: `planes` blurs of a float32 size x size plane by one call of the kernels of one instruction set.
#include "csrc/cpu/kernels.cpp"

#include <cstdlib>
#include <vector>

int main(int, char** arguments) {
    const std::int64_t size = std::atoll(arguments[1]), planes = std::atoll(arguments[2]), largest = std::atoll(arguments[3]);
    const bool own_tau = std::atoi(arguments[4]) != 0;
    const std::int64_t area = size * size;
    // Everything but the call is the same for both heights of the stack, so that it cancels.
    std::vector<float> x(largest * area, 0.5F), out(largest * area);
    std::vector<double> levels;
    for (std::int64_t i = 0; i < largest; ++i) levels.insert(levels.end(), {0.0, 1.5, 0.0, 0.0});  // log_a, tau, sigma, floor
    softdiff::CombineTask task{};
    task.batch = planes;
    task.channels = 1;
    task.height = task.width = size;
    task.dtype = softdiff::Dtype::kFloat32;
    task.term[0] = {x.data(), {area, area, size, 1}};
    task.kind = softdiff::GainKind::kLevel;
    task.power = 1;
    task.t = {levels.data(), own_tau ? 4 : 0};
    task.out = out.data();
    task.threads = 1;
    softdiff::combine<float>(task);
    return out[0] > 2.0F;
}

#include "plan.hpp"

#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "angle.hpp"
#include "recursion.hpp"

namespace softdiff {
namespace {

template <class T>
struct PlanStorage {
    LinePlan<T> plan{};
    std::vector<T> factors, weight, root_weight;
    std::vector<double> eigenvalue;
    std::vector<std::int32_t> butterfly, frequency, position;
    std::vector<SlotPair> pair;

    explicit PlanStorage(int size) {
        int leaf = size, radix = 1;
        while (leaf > kMaxLeaf && leaf % 2 == 0 && radix < kMaxRadix) {
            leaf /= 2;
            radix *= 2;
        }
        plan.size = size;
        plan.radix = radix;
        plan.leaf = leaf;
        plan.codelet = has_codelet(leaf);
        std::vector<double> rotations;
        for (int i = 0; i < leaf; ++i) append_rotations(false, radix, leaf, i, rotations);
        factors.assign(rotations.begin(), rotations.end());
        position = recursion_outputs(false, radix, leaf, 0, butterfly);
        build_pairs();
        frequency.resize(size);
        for (int k = 0; k < size; ++k) frequency[position[k]] = k;
        if (!plan.codelet) plan.odd = &odd_plan<T>(leaf);
        build_axis();
        plan.factors = factors.data();
        plan.butterflies = static_cast<int>(butterfly.size() / 2);
        plan.butterfly = butterfly.data();
        plan.pairs = static_cast<int>(pair.size());
        plan.pair = pair.data();
        plan.frequency = frequency.data();
        plan.position = position.data();
        plan.weight = weight.data();
        plan.root_weight = root_weight.data();
        plan.eigenvalue = eigenvalue.data();
    }

    // Groups the slots by their butterflies, which the recursion makes between whole slots; none where it does so twice.
    void build_pairs() {
        const int n = plan.leaf;
        std::vector<SlotPair> of_slot(plan.radix, SlotPair{-1, -1, 0});
        std::vector<bool> touched(plan.size, false);
        for (std::size_t i = 0; i < butterfly.size(); i += 2) {
            const std::int32_t a = butterfly[i], b = butterfly[i + 1];
            if (touched[a] || touched[b]) return;
            touched[a] = touched[b] = true;
            of_slot[a / n] = {a / n, b / n, a % n + b % n};
            of_slot[b / n].first = -2;
        }
        for (int slot = 0; slot < plan.radix; ++slot) {
            if (of_slot[slot].first == -1) of_slot[slot].first = slot;
            if (of_slot[slot].first == slot) pair.push_back(of_slot[slot]);
        }
    }

    void build_axis() {
        for (int i = 0; i < plan.size; ++i) {
            const double w = (frequency[i] == 0 ? 1.0 : 2.0) / plan.size;
            const double root = kPiValue * frequency[i] / plan.size;
            weight.push_back(static_cast<T>(w));
            root_weight.push_back(static_cast<T>(std::sqrt(w)));
            eigenvalue.push_back(root * root);
        }
    }
};

}  // namespace

template <class T>
const LinePlan<T>& line_plan(std::int64_t size) {
    static std::mutex mutex;
    static std::map<std::int64_t, std::unique_ptr<PlanStorage<T>>> plans;
    const std::scoped_lock lock(mutex);
    auto& entry = plans[size];
    if (!entry) entry = std::make_unique<PlanStorage<T>>(static_cast<int>(size));
    return entry->plan;
}

template const LinePlan<float>& line_plan<float>(std::int64_t);
template const LinePlan<double>& line_plan<double>(std::int64_t);

}  // namespace softdiff

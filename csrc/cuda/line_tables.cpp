#include "line_tables.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "../cpu/odd_plan.hpp"
#include "../cpu/plan.hpp"
#include "../cpu/recursion.hpp"

namespace softdiff {
namespace {

constexpr std::size_t kAlignment = 256;

template <class T>
Rotation<T> rounded(const double* factor) {
    Rotation<T> rotation{};
    for (int i = 0; i < 4; ++i) rotation.factor[i] = static_cast<T>(factor[i]);
    return rotation;
}

template <class T>
OddEntry<T> odd_entry(int a, int b, double f0, double f1, double f2, double f3) {
    return {{static_cast<T>(f0), static_cast<T>(f1), static_cast<T>(f2), static_cast<T>(f3)}, a, b};
}

double alternating(int i) { return i % 2 == 0 ? 1.0 : -1.0; }

// Pairs that touch an output later than others do, in the order in which they may be carried out: level[i] is counted from the
// end, so that as much as possible is left for the last level, which kernels merge with what follows.
std::vector<int> levels_from_the_end(const std::vector<std::int32_t>& butterfly, int size) {
    std::vector<int> level(butterfly.size() / 2), later(static_cast<std::size_t>(size), 0);
    for (std::size_t i = level.size(); i-- > 0;) {
        int& a = later[static_cast<std::size_t>(butterfly[2 * i])];
        int& b = later[static_cast<std::size_t>(butterfly[2 * i + 1])];
        level[i] = std::max(a, b);
        a = b = level[i] + 1;
    }
    return level;
}

}  // namespace

Divider Divider::of(std::int64_t divisor) {
    int bits = 0;
    while ((std::int64_t{1} << bits) < divisor) ++bits;
    const std::uint64_t numerator = std::uint64_t{1} << (31 + bits);
    return {static_cast<std::uint32_t>(divisor),
            static_cast<std::uint32_t>(numerator / static_cast<std::uint64_t>(divisor) + 1), 31 + bits};
}

template <class T>
HostLine<T>::HostLine(int size) {
    LineTables<T>& t = tables_;
    t.size = size;
    t.radix = t.slots = 1;
    t.leaf = size;
    while (t.leaf % 2 == 0 && !has_leaf_codelet(t.leaf)) {
        t.leaf /= 2;
        t.slots *= 2;
        if (t.radix < kMaxDeviceRadix) {
            t.radix *= 2;
        } else {
            ++t.halvings;
        }
    }
    t.codelet = has_leaf_codelet(t.leaf);
    t.positions = Divider::of(size / t.radix);
    build_split(size / t.radix);
    build_nodes();
    build_outputs();
    if (!t.codelet) build_odd_leaf();
}

template <class T>
template <class Entry>
const Entry* HostLine<T>::append(const std::vector<Entry>& entries) {
    const std::size_t at = (bytes_.size() + kAlignment - 1) / kAlignment * kAlignment, size = entries.size() * sizeof(Entry);
    bytes_.resize(at + std::max<std::size_t>(size, 1));
    if (size > 0) std::memcpy(bytes_.data() + at, entries.data(), size);
    return reinterpret_cast<const Entry*>(at);
}

template <class T>
void HostLine<T>::build_split(int positions) {
    const int rotations = rotation_count(false, tables_.radix);
    std::vector<Rotation<T>> split(static_cast<std::size_t>(rotations) * positions);
    std::vector<double> factors;
    for (int i = 0; i < positions; ++i) {
        factors.clear();
        append_rotations(false, tables_.radix, positions, i, factors);
        for (int r = 0; r < rotations; ++r)
            split[static_cast<std::size_t>(r) * positions + i] = rounded<T>(factors.data() + kFactorsPerRotation * r);
    }
    tables_.split = append(split);

    std::vector<Rotation<T>> halving;
    for (int level = 0; level < tables_.halvings; ++level) {
        const int half = tables_.half_length(level);
        for (int i = 0; i < half; ++i) {
            factors.clear();
            append_rotations(true, 2, half, i, factors);
            halving.push_back(rounded<T>(factors.data()));
        }
    }
    tables_.halving = append(halving);
}

template <class T>
void HostLine<T>::build_nodes() {
    const int length = tables_.size / tables_.radix;
    std::vector<NodePlace> nodes;
    nodes.reserve(static_cast<std::size_t>(tables_.radix) * ((std::size_t{2} << tables_.halvings) - 1));
    for (int j = 0; j < tables_.radix; ++j)
        nodes.push_back({fold_position(j, 0, length), j % 2 == 0 ? 1 : -1, j * length, slot_is_dct4(false, tables_.radix, j)});
    std::size_t parents = 0;
    for (int level = 0, half = length / 2; level < tables_.halvings; ++level, half /= 2) {
        const std::size_t end = nodes.size();
        for (; parents < end; ++parents) {
            const NodePlace parent = nodes[parents];
            const std::int32_t last = parent.first + parent.step * (2 * half - 1), high = parent.low + half;
            nodes.push_back({parent.first, parent.step, parent.step > 0 ? parent.low : high, 0});
            nodes.push_back({last, -parent.step, parent.step > 0 ? high : parent.low, parent.dct4 ? 0 : 1});
        }
    }
    tables_.node = append(nodes);
}

template <class T>
void HostLine<T>::build_outputs() {
    LineTables<T>& t = tables_;
    const auto* slot = reinterpret_cast<const NodePlace*>(bytes_.data() + reinterpret_cast<std::size_t>(t.node)) +
                       (t.nodes(t.halvings) - t.node);
    std::vector<std::int32_t> butterfly, position = recursion_outputs(false, t.slots, t.leaf, 0, butterfly);
    const auto place = [&](std::int32_t output) { return slot[output / t.leaf].low + output % t.leaf; };
    std::transform(position.begin(), position.end(), position.begin(), place);
    std::transform(butterfly.begin(), butterfly.end(), butterfly.begin(), place);

    const std::vector<int> from_end = levels_from_the_end(butterfly, t.size);
    t.levels = 1;
    for (const int level : from_end) t.levels = std::max(t.levels, level + 1);
    std::vector<std::vector<OutputPair>> levels(static_cast<std::size_t>(t.levels));
    std::vector<bool> paired(static_cast<std::size_t>(t.size), false);
    for (std::size_t i = 0; i < from_end.size(); ++i) {
        const OutputPair pair{butterfly[2 * i], butterfly[2 * i + 1]};
        levels[static_cast<std::size_t>(t.levels - 1 - from_end[i])].push_back(pair);
        if (from_end[i] == 0) paired[static_cast<std::size_t>(pair.a)] = paired[static_cast<std::size_t>(pair.b)] = true;
    }
    for (int at = 0; at < t.size; ++at)
        if (!paired[static_cast<std::size_t>(at)]) levels.back().push_back({at, -1});
    std::vector<OutputPair> pairs;
    for (int level = 0; level < t.levels; ++level) {
        auto& own = levels[static_cast<std::size_t>(level)];
        std::sort(own.begin(), own.end(), [](const OutputPair& p, const OutputPair& q) { return p.a < q.a; });
        t.level_first[level] = static_cast<std::int32_t>(pairs.size());
        pairs.insert(pairs.end(), own.begin(), own.end());
        t.level_first[level + 1] = static_cast<std::int32_t>(pairs.size());
    }
    t.last_pairs = Divider::of(t.level_first[t.levels] - t.level_first[t.levels - 1]);
    t.pair = append(pairs);

    std::vector<std::int32_t> frequency(static_cast<std::size_t>(t.size));
    for (int k = 0; k < t.size; ++k) frequency[static_cast<std::size_t>(position[static_cast<std::size_t>(k)])] = k;
    std::vector<T> weight, root_weight;
    for (const std::int32_t k : frequency) {
        const double w = (k == 0 ? 1.0 : 2.0) / t.size;
        weight.push_back(static_cast<T>(w));
        root_weight.push_back(static_cast<T>(std::sqrt(w)));
    }
    t.frequency = append(frequency);
    t.position = append(position);
    t.weight = append(weight);
    t.root_weight = append(root_weight);
}

// cpu/odd.hpp has the formulas.
template <class T>
void HostLine<T>::build_odd_leaf() {
    const int n = tables_.leaf, h = n / 2;
    const OddPlan<T>& plan = odd_plan<T>(n);
    std::vector<OddEntry<T>> in[kLeafKinds], out[kLeafKinds];
    for (int kind = 0; kind < kLeafKinds; ++kind) in[kind].push_back(odd_entry<T>(kind == 1 ? 0 : h, -1, 1, 0, 0, 0));
    for (int kind = 0; kind < kLeafKinds; ++kind)
        out[kind].push_back(
            odd_entry<T>(kind == 0 ? 0 : h, -1, kind == 2 ? static_cast<double>(plan.dct4_middle) : 1.0, 0, 0, 0));
    for (int j = 1; j <= h; ++j) {
        const double s = alternating(j), of_sine = alternating(h - j + 1);
        in[0].push_back(odd_entry<T>(h - j, h + j, 1, 1, s, -s));
        out[0].push_back(odd_entry<T>(2 * j, n - 2 * j, s, 0, 0, of_sine));
        in[1].push_back(odd_entry<T>(2 * j, n - 2 * j, s, 0, 0, of_sine));
        out[1].push_back(odd_entry<T>(h - j, h + j, 1, s, 1, -s));
        const T *f = plan.dct4_factor + 4 * (j - 1), *g = plan.dct4_output_factor + 4 * (j - 1);
        const int i = plan.dct4_position[j - 1], k = plan.dct4_frequency[j - 1];
        in[2].push_back({{f[0], f[1], f[2], f[3]}, i, n - 1 - i});
        out[2].push_back({{g[0], g[1], g[2], g[3]}, k, n - 1 - k});
    }
    for (int kind = 0; kind < kLeafKinds; ++kind) {
        tables_.odd_in[kind] = append(in[kind]);
        tables_.odd_out[kind] = append(out[kind]);
    }
    // Outputs beyond n / 2 that a thread makes and drops step further than n round the circle where n is short.
    constexpr int kShortest = 128;
    const int points = std::max(n, kShortest);
    std::vector<CirclePoint<T>> circle;
    circle.reserve(static_cast<std::size_t>(points));
    for (int m = 0; m < points; ++m) circle.push_back({static_cast<T>(cosine(2LL * m, n)), static_cast<T>(sine(2LL * m, n))});
    tables_.circle = append(circle);
}

template <class T>
std::uint64_t HostLine<T>::key() const {
    constexpr std::uint64_t kLineTables = std::uint64_t{1} << 56;
    return kLineTables | static_cast<std::uint64_t>(tables_.size) << 8 | sizeof(T);
}

template <class T>
LineTables<T> HostLine<T>::at(const void* base) const {
    LineTables<T> moved = tables_;
    const auto move = [&](auto*& pointer) {
        using Pointer = std::remove_reference_t<decltype(pointer)>;
        pointer = reinterpret_cast<Pointer>(static_cast<const unsigned char*>(base) + reinterpret_cast<std::size_t>(pointer));
    };
    move(moved.split);
    move(moved.halving);
    move(moved.node);
    move(moved.pair);
    move(moved.frequency);
    move(moved.position);
    move(moved.weight);
    move(moved.root_weight);
    for (int kind = 0; kind < kLeafKinds; ++kind) {
        move(moved.odd_in[kind]);
        move(moved.odd_out[kind]);
    }
    move(moved.circle);
    return moved;
}

template <class T>
const HostLine<T>& host_line(std::int64_t size) {
    static std::mutex mutex;
    static std::map<std::int64_t, std::unique_ptr<HostLine<T>>> lines;
    const std::scoped_lock lock(mutex);
    auto& line = lines[size];
    if (!line) line = std::make_unique<HostLine<T>>(static_cast<int>(size));
    return *line;
}

template class HostLine<float>;
template class HostLine<double>;
template const HostLine<float>& host_line<float>(std::int64_t);
template const HostLine<double>& host_line<double>(std::int64_t);

}  // namespace softdiff

#include "machine.hpp"

#include <algorithm>
#include <memory>

namespace softdiff::emulation {

Machine& Machine::instance() {
    static Machine machine;
    return machine;
}

void Machine::begin(std::uint64_t order_seed, int dropped_barrier, bool dry, int dropped_launch) {
    report_ = {};
    dry_ = dry;
    order_seed_ = order_seed;
    dropped_barrier_ = dropped_barrier;
    dropped_launch_ = dropped_launch;
}

void Machine::add_region(std::string name, const void* begin, std::int64_t bytes, Access access, bool shared) {
    if (!begin || bytes == 0 || dry_) return;
    auto region = std::make_unique<Region>();
    region->name = std::move(name);
    region->begin = static_cast<unsigned char*>(const_cast<void*>(begin));
    region->bytes = bytes;
    region->access = access;
    region->shared = shared;
    region->granule = shared ? 4 : 2;
    if (access == Access::kReadWrite)
        region->cells.resize(static_cast<std::size_t>((bytes + region->granule - 1) / region->granule));
    regions_.push_back(region.release());
}

void Machine::forget_regions() {
    for (const Region* region : regions_) delete region;
    regions_.clear();
}

void Machine::check_written(const void* begin) {
    const Region* region = find(begin);
    if (!region) return;
    for (const Cell& cell : region->cells)
        if (!cell.initialised)
            complain(report_.unwritten, "never written", region,
                     region->begin + (&cell - region->cells.data()) * region->granule);
}

Region* Machine::find(const void* pointer) {
    const auto* at = static_cast<const unsigned char*>(pointer);
    // Inside rather than just past the end, where the next one may begin; of those that share memory, the one that can be
    // written (an image used twice), or that reaches furthest (the columns of one tensor).
    Region* found = nullptr;
    int best = 0;
    for (Region* region : regions_) {
        if (at < region->begin || at > region->begin + region->bytes) continue;
        const int rank = 1 + (at < region->begin + region->bytes ? 2 : 0) + (region->access == Access::kReadWrite ? 1 : 0);
        if (rank < best || (rank == best && region->begin + region->bytes <= found->begin + found->bytes)) continue;
        best = rank;
        found = region;
    }
    return found;
}

void Machine::begin_launch(const char* kernel, std::int64_t blocks, int threads, int shared_bytes, int barriers) {
    kernel_ = kernel;
    ++report_.launches;
    report_.log.push_back({kernel, blocks, threads, shared_bytes, barriers});
    ++launch_;
    launch_start_ = ++epoch_;
}

void Machine::begin_block(std::int64_t shared_bytes) {
    ++report_.blocks;
    block_start_ = ++epoch_;
    const auto old = std::find_if(regions_.begin(), regions_.end(), [](const Region* region) { return region->shared; });
    if (old != regions_.end()) {
        delete *old;
        regions_.erase(old);
    }
    shared_.assign(static_cast<std::size_t>(shared_bytes), 0xFF);  // NaN to whoever reads it too early
    add_region("shared memory", shared_.data(), shared_bytes, Access::kReadWrite, true);
}

void Machine::barrier(int index) {
    ++report_.barriers;
    const bool this_launch = dropped_launch_ < 0 || dropped_launch_ + 1 == report_.launches;
    if (index != dropped_barrier_ || !this_launch) ++epoch_;
}

bool Machine::inside(const Region* region, const void* at, int bytes) {
    const auto* address = static_cast<const unsigned char*>(at);
    if (region && address >= region->begin && address + bytes <= region->begin + region->bytes) return true;
    complain(report_.out_of_bounds, "out of bounds", region, at);
    return false;
}

bool Machine::on_read(Region* region, const void* at, int bytes) {
    ++report_.reads;
    if (!inside(region, at, bytes)) return false;
    if (region->access == Access::kReadOnly) return true;
    const std::int64_t first = (static_cast<const unsigned char*>(at) - region->begin) / region->granule;
    for (std::int64_t i = first; i * region->granule < first * region->granule + bytes; ++i) {
        Cell& cell = region->cells[static_cast<std::size_t>(i)];
        if (!cell.initialised) complain(report_.uninitialised, "uninitialised", region, at);
        const bool now = cell.write_epoch >= launch_start_;
        if (now && (cell.write_epoch < block_start_ || (cell.write_epoch == epoch_ && cell.write_thread != thread_)))
            complain(report_.races, "read races a write", region, at);
        if (cell.read_epoch >= launch_start_ && cell.read_epoch < block_start_) cell.foreign_read = launch_;
        cell.read_thread = cell.read_epoch == epoch_ && cell.read_thread != thread_ ? -2 : thread_;
        cell.read_epoch = epoch_;
    }
    return true;
}

bool Machine::on_write(Region* region, const void* at, int bytes) {
    ++report_.writes;
    if (!inside(region, at, bytes)) return false;
    if (region->access == Access::kReadOnly) {
        complain(report_.out_of_bounds, "write to an input", region, at);
        return false;
    }
    const std::int64_t first = (static_cast<const unsigned char*>(at) - region->begin) / region->granule;
    for (std::int64_t i = first; i * region->granule < first * region->granule + bytes; ++i) {
        Cell& cell = region->cells[static_cast<std::size_t>(i)];
        const bool written = cell.write_epoch >= launch_start_, read = cell.read_epoch >= launch_start_;
        const bool other_block = (written && cell.write_epoch < block_start_) || (read && cell.read_epoch < block_start_) ||
                                 cell.foreign_read == launch_;
        const bool other_thread = (cell.write_epoch == epoch_ && cell.write_thread != thread_) ||
                                  (cell.read_epoch == epoch_ && cell.read_thread != thread_);
        if (other_block || other_thread) complain(report_.races, "write races another access", region, at);
        cell.write_epoch = epoch_;
        cell.write_thread = thread_;
        cell.initialised = true;
    }
    return true;
}

void Machine::complain(std::int64_t& count, const std::string& what, const Region* region, const void* at) {
    ++count;
    if (!report_.first.empty()) return;
    report_.first = std::string(kernel_) + ": " + what + ", thread " + std::to_string(thread_) + ", " +
                    (region ? region->name + " at byte " + std::to_string(static_cast<const unsigned char*>(at) - region->begin)
                            : std::string("no region"));
}

}  // namespace softdiff::emulation

// The memory of an emulated GPU: real memory, and beside it who wrote and read what. It reports
//
//   races            two threads, at least one of which writes, without a barrier between them (or in different blocks at all)
//   uninitialised    reads of memory that nobody has written
//   out_of_bounds    accesses outside of every region, and writes to read-only ones
//
// Regions are global (inputs, outputs, workspaces, tables) or the shared memory of the block that runs. Time is a number of
// epochs: a barrier starts a new one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace softdiff::emulation {

struct Launch {
    std::string kernel;
    std::int64_t blocks;
    int threads, shared_bytes, barriers;  // barriers that a block passes
};

struct Report {
    std::int64_t races = 0, uninitialised = 0, out_of_bounds = 0, unwritten = 0;
    std::int64_t launches = 0, blocks = 0, barriers = 0, reads = 0, writes = 0;
    std::string first;  // the first complaint, in words
    std::vector<Launch> log;
};

struct Cell {
    std::uint32_t write_epoch = 0, read_epoch = 0;
    std::int32_t write_thread = -1, read_thread = -1;
    std::uint32_t foreign_read = 0;  // the launch in which a block before this one read the cell
    bool initialised = false;
};

enum class Access { kReadOnly, kReadWrite };

struct Region {
    std::string name;
    unsigned char* begin = nullptr;
    std::int64_t bytes = 0;
    Access access = Access::kReadOnly;
    bool shared = false;
    int granule = 2;
    std::vector<Cell> cells;  // none for read-only memory: it is initialised, and nobody writes it
};

class Machine {
  public:
    static Machine& instance();

    // A new report. One barrier is left out, in one launch or (-1) in every one; -1 keeps all. Dry: launches are written down
    // and not run, memory is not looked at.
    void begin(std::uint64_t order_seed, int dropped_barrier, bool dry = false, int dropped_launch = -1);
    const Report& report() const { return report_; }
    std::uint64_t order_seed() const { return order_seed_; }
    int dropped_barrier() const { return dropped_barrier_; }
    bool dry() const { return dry_; }

    void add_region(std::string name, const void* begin, std::int64_t bytes, Access access, bool shared = false);
    void forget_regions();
    // Complains about bytes of `begin` that no launch has written.
    void check_written(const void* begin);
    Region* find(const void* pointer);

    void begin_launch(const char* kernel, std::int64_t blocks, int threads, int shared_bytes, int barriers);
    void begin_block(std::int64_t shared_bytes);
    void barrier(int index);
    void set_thread(int thread) { thread_ = thread; }
    unsigned char* shared_memory() { return shared_.data(); }

    // Whether the access may go ahead.
    bool on_read(Region* region, const void* at, int bytes);
    bool on_write(Region* region, const void* at, int bytes);

  private:
    Report report_;
    std::vector<Region*> regions_;
    std::vector<unsigned char> shared_;
    std::uint64_t order_seed_ = 0;
    int dropped_barrier_ = -1, dropped_launch_ = -1;
    bool dry_ = false;
    std::uint32_t epoch_ = 1, launch_start_ = 1, block_start_ = 1, launch_ = 0;
    int thread_ = 0;
    const char* kernel_ = "";

    bool inside(const Region* region, const void* at, int bytes);
    void complain(std::int64_t& count, const std::string& what, const Region* region, const void* at);
};

}  // namespace softdiff::emulation

// Memory of the fake GPU: mappings of host memory that nobody touches until something is copied there.
#pragma once

#include <sys/mman.h>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>

namespace fake {

enum class Place { Pageable, Pinned, Device };

struct Block {
  size_t bytes;
  int device;
  Place place;
};

class Memory {
 public:
  static Memory& get() {
    static auto* memory = new Memory;
    return *memory;
  }

  // What a context takes for itself before anything is allocated.
  static constexpr size_t CONTEXT_BYTES = size_t(600) << 20;

  size_t total() const {
    return total_;
  }

  size_t free_bytes() {
    std::lock_guard<std::mutex> lock(mutex_);
    return total_ - CONTEXT_BYTES - used_;
  }

  // Null where the device has too little left.
  void* take(size_t bytes, int device, Place place) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (place == Place::Device && used_ + bytes > total_ - CONTEXT_BYTES) {
      return nullptr;
    }
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* at = mmap(nullptr, bytes == 0 ? 1 : bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED) {
      return nullptr;
    }
    used_ += place == Place::Device ? bytes : 0;
    blocks_[reinterpret_cast<uintptr_t>(at)] = {bytes, device, place};
    return at;
  }

  void give_back(void* at) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = blocks_.find(reinterpret_cast<uintptr_t>(at));
    if (found == blocks_.end()) {
      return;
    }
    const Block block = found->second;
    blocks_.erase(found);
    used_ -= block.place == Place::Device ? block.bytes : 0;
    munmap(at, block.bytes == 0 ? 1 : block.bytes);
  }

  // The block that `at` points into; a pageable one where it is none of ours.
  Block at(const void* at) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto address = reinterpret_cast<uintptr_t>(at);
    auto next = blocks_.upper_bound(address);
    if (next != blocks_.begin()) {
      const auto& [start, block] = *--next;
      if (address < start + block.bytes) {
        return block;
      }
    }
    return {0, -2, Place::Pageable};
  }

 private:
  Memory() {
    const char* gib = std::getenv("FAKE_CUDA_GIB");
    total_ = static_cast<size_t>((gib == nullptr ? 80.0 : std::atof(gib)) * (size_t(1) << 30));
  }

  std::mutex mutex_;
  std::map<uintptr_t, Block> blocks_;
  size_t total_, used_ = 0;
};

} // namespace fake

// The counts of the fake GPU, step by step. A step ends where the program waits for the whole device, as `bench step`
// does after each one.
#pragma once

#include <pthread.h>
#include <time.h>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace fake {

struct Step {
  // Sums by name: launches, waits, copies and their bytes.
  std::map<std::string, long> counts;
  // Launches by the mangled name of the kernel, or by the call of a library.
  std::map<std::string, long> kernels;
};

class Ledger {
 public:
  // Never destroyed: threads of libtorch may outlive static objects.
  static Ledger& get() {
    static auto* ledger = new Ledger;
    return *ledger;
  }

  void add(const std::string& name, long count = 1) {
    std::lock_guard<std::mutex> lock(mutex_);
    step_.counts[name] += count;
  }

  void launch(const std::string& kernel, bool default_stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    step_.counts["launches"]++;
    step_.kernels[kernel]++;
    by_thread_[pthread_self()]++;
    if (!default_stream) {
      step_.counts["launches_on_other_streams"]++;
    }
  }

  // The calling thread waited for the whole device.
  void end_step() {
    std::lock_guard<std::mutex> lock(mutex_);
    step_.counts["launches_by_other_threads"] = step_.counts["launches"] - by_thread_[pthread_self()];
    const long now = cpu_microseconds();
    step_.counts["cpu_microseconds"] = now - step_began_;
    step_began_ = now;
    steps_.push_back(std::move(step_));
    step_ = Step();
    by_thread_.clear();
  }

  // Writes the file that FAKE_CUDA_REPORT names: all steps, and what came after the last one. Programs that asked nothing
  // of a GPU, such as shells, write none.
  void write() {
    const char* path = std::getenv("FAKE_CUDA_REPORT");
    std::lock_guard<std::mutex> lock(mutex_);
    const bool idle = steps_.empty() && step_.counts.empty();
    FILE* file = path == nullptr || idle ? nullptr : std::fopen(path, "w");
    if (file == nullptr) {
      return;
    }
    std::fprintf(file, "{\"steps\": [");
    const char* comma = "\n";
    for (const auto& step : steps_) {
      std::fprintf(file, "%s", comma);
      write_step(file, step);
      comma = ",\n";
    }
    step_.counts["cpu_microseconds"] = cpu_microseconds() - step_began_;
    std::fprintf(file, "],\n\"rest\": ");
    write_step(file, step_);
    std::fprintf(file, "}\n");
    std::fclose(file);
  }

 private:
  // Of all threads of the process.
  static long cpu_microseconds() {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1000000 + time.tv_nsec / 1000;
  }

  static void write_step(FILE* file, const Step& step) {
    std::fprintf(file, "{\"counts\": ");
    write_map(file, step.counts);
    std::fprintf(file, ", \"kernels\": ");
    write_map(file, step.kernels);
    std::fprintf(file, "}");
  }

  static void write_map(FILE* file, const std::map<std::string, long>& map) {
    const char* comma = "";
    std::fprintf(file, "{");
    for (const auto& [name, count] : map) {
      std::fprintf(file, "%s\"%s\": %ld", comma, name.c_str(), count);
      comma = ", ";
    }
    std::fprintf(file, "}");
  }

  std::mutex mutex_;
  Step step_;
  std::vector<Step> steps_;
  std::map<pthread_t, long> by_thread_;
  long step_began_ = 0;
};

} // namespace fake

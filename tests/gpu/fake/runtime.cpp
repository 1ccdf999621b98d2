// A fake CUDA runtime, libcudart.so.13: memory is host memory, kernels do nothing, all is counted (ledger.h).
//
// Copies between host and device move their bytes, so that addresses and small numbers stay right; copies to the host give
// FAKE_CUDA_NUMBER (1000) where they are one integer of 8 bytes, and zeros else, since no kernel made them.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "fake.h"
#include "faults.h"
#include "ledger.h"
#include "memory.h"

using fake::Faults;
using fake::Ledger;
using fake::Memory;
using fake::Place;

namespace {

constexpr int MOST_GPUS = 64;
bool has_context[MOST_GPUS];
thread_local int current = 0;

int number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

int gpus() {
  static const int count = std::min(number("FAKE_CUDA_GPUS", 1), MOST_GPUS);
  return count;
}

cudaError_t ok() {
  return Faults::get().result();
}

// Whatever a real runtime would make a context for.
void in_context() {
  has_context[current] = true;
}

cudaError_t wait() {
  in_context();
  Ledger::get().add("waits");
  return ok();
}

std::unordered_map<const void*, std::string>& kernel_names() {
  static auto* names = new std::unordered_map<const void*, std::string>;
  return *names;
}

// Bytes of an element of a FillFunctor of this mangled name.
long fill_width(const std::string& kernel) {
  const std::string mark = "FillFunctorI";
  const size_t at = kernel.find(mark);
  if (at == std::string::npos) {
    return 0;
  }
  switch (kernel[at + mark.size()]) {
    case 'd':
    case 'l':
      return 8;
    case 'f':
    case 'i':
      return 4;
    case 'h':
    case 'b':
    case 'a':
      return 1;
    default:
      return 2;
  }
}

cudaError_t launch(const void* function, cudaStream_t stream, void** arguments) {
  in_context();
  const auto named = kernel_names().find(function);
  const std::string name = named == kernel_names().end() ? "unknown kernel" : named->second;
  Ledger::get().launch(name, stream == nullptr);
  if (const long width = fill_width(name); width > 0 && arguments != nullptr) {
    // Elementwise kernels begin with their number of elements.
    Ledger::get().add("filled_bytes", width * *static_cast<int*>(arguments[0]));
  }
  Faults::get().launch();
  return ok();
}

cudaError_t copy(void* to, const void* from, size_t bytes) {
  in_context();
  const Place target = Memory::get().at(to).place, source = Memory::get().at(from).place;
  auto pinned = [](Place place) { return place == Place::Pinned ? "pinned" : "pageable"; };
  std::string what = "copies_on_device";
  if (target == Place::Device && source != Place::Device) {
    what = std::string("copies_to_device_") + pinned(source);
    Ledger::get().add("bytes_to_device", static_cast<long>(bytes));
  } else if (source == Place::Device && target != Place::Device) {
    what = std::string("copies_to_host_") + pinned(target);
    Ledger::get().add("bytes_to_host", static_cast<long>(bytes));
  } else if (target != Place::Device) {
    what = "copies_on_host";
  }
  Ledger::get().add(what);
  if (target == Place::Device && source == Place::Device) {
    return ok();
  }
  if (source == Place::Device) {
    std::memset(to, 0, bytes);
    if (bytes == sizeof(long)) {
      static const long integer = number("FAKE_CUDA_NUMBER", 1000);
      std::memcpy(to, &integer, sizeof(integer));
    }
  } else {
    std::memcpy(to, from, bytes);
  }
  return ok();
}

cudaError_t fill(void* at, int value, size_t bytes) {
  in_context();
  Ledger::get().launch("cudaMemset", true);
  Ledger::get().add("filled_bytes", static_cast<long>(bytes));
  // Large memory stays untouched, so that the host has it.
  if (bytes < 65536) {
    std::memset(at, value, bytes);
  }
  return ok();
}

// What an event points to: how often it will still be found not to have passed.
std::atomic<long>* polls_left(cudaEvent_t event) {
  return reinterpret_cast<std::atomic<long>*>(event);
}

struct CallConfiguration {
  dim3 grid, block;
  size_t shared_bytes;
  void* stream;
};
thread_local std::vector<CallConfiguration>* configurations;

__attribute__((destructor)) void at_end() {
  Ledger::get().write();
}

} // namespace

extern "C" {

void fake_library_launch(const char* name) {
  in_context();
  Ledger::get().launch(name, true);
  Faults::get().launch();
}

void fake_count(const char* name) {
  Ledger::get().add(name);
}

int fake_refuses_fusion(void) {
  return Faults::get().refuses_fusion();
}

int fake_has_context(int device) {
  return device >= 0 && device < MOST_GPUS && has_context[device];
}

// Registration and launches.
void** __cudaRegisterFatBinary(void*) {
  static void* handle[1];
  return handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
char __cudaInitModule(void**) {
  return 0;
}
// Libraries register while they are loaded, by one thread.
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, void*, void*, void*, void*, int*) {
  kernel_names()[host] = name == nullptr ? "unnamed kernel" : name;
}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, void* stream) {
  if (configurations == nullptr) {
    configurations = new std::vector<CallConfiguration>;
  }
  configurations->push_back({grid, block, shared_bytes, stream});
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes, void* stream) {
  const auto last = configurations->back();
  configurations->pop_back();
  *grid = last.grid;
  *block = last.block;
  *shared_bytes = last.shared_bytes;
  *static_cast<void**>(stream) = last.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void** arguments, size_t, cudaStream_t stream) {
  return launch(reinterpret_cast<const void*>(kernel), stream, arguments);
}
cudaError_t cudaLaunchKernel(const void* function, dim3, dim3, void** arguments, size_t, cudaStream_t stream) {
  return launch(function, stream, arguments);
}
cudaError_t cudaLaunchCooperativeKernel(
    const void* function, dim3, dim3, void** arguments, size_t, cudaStream_t stream) {
  return launch(function, stream, arguments);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  return launch(function, config->stream, arguments);
}
cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t function, void* data) {
  function(data);
  return ok();
}
cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t function, void* data, unsigned) {
  function(stream, cudaSuccess, data);
  return ok();
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  std::memset(attributes, 0, sizeof(*attributes));
  attributes->maxThreadsPerBlock = 1024;
  attributes->ptxVersion = attributes->binaryVersion = 90;
  attributes->numRegs = 32;
  return ok();
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) {
  return ok();
}
cudaError_t cudaGetSymbolAddress(void** address, const void* symbol) {
  *address = const_cast<void*>(symbol);
  return ok();
}
cudaError_t cudaMemcpyToSymbol(const void*, const void*, size_t, size_t, cudaMemcpyKind) {
  return ok();
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, size_t) {
  *blocks = 2;
  return ok();
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t, unsigned) {
  *blocks = 2;
  return ok();
}

// Devices, of an H100's size.
cudaError_t cudaGetDeviceCount(int* count) {
  *count = gpus();
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= gpus()) {
    return Faults::get().result(cudaErrorInvalidDevice);
  }
  current = device;
  in_context();
  return ok();
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* of, int device) {
  std::memset(of, 0, sizeof(*of));
  std::snprintf(of->name, sizeof(of->name), "Fake GPU %d", device);
  of->totalGlobalMem = Memory::get().total();
  of->sharedMemPerBlock = 49152;
  of->sharedMemPerBlockOptin = 232448;
  of->sharedMemPerMultiprocessor = 233472;
  of->regsPerBlock = of->regsPerMultiprocessor = 65536;
  of->warpSize = 32;
  of->maxThreadsPerBlock = of->maxThreadsDim[0] = of->maxThreadsDim[1] = 1024;
  of->maxThreadsDim[2] = 64;
  of->maxGridSize[0] = 2147483647;
  of->maxGridSize[1] = of->maxGridSize[2] = 65535;
  of->major = 9;
  of->multiProcessorCount = 132;
  of->l2CacheSize = 50 << 20;
  of->maxThreadsPerMultiProcessor = 2048;
  of->maxBlocksPerMultiProcessor = 32;
  of->concurrentKernels = of->unifiedAddressing = of->cooperativeLaunch = 1;
  of->pciBusID = device + 1;
  return ok();
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = 1024;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 132;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = 49152;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 232448;
      break;
    case cudaDevAttrWarpSize:
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *value = 32;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrMaxGridDimX:
      *value = 2147483647;
      break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      *value = 65535;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = 2048;
      break;
    default:
      *value = 1;
  }
  return ok();
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
  std::snprintf(text, length, "0000:%02x:00.0", device + 1);
  return ok();
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (least != nullptr) {
    *least = 0;
  }
  if (greatest != nullptr) {
    *greatest = -5;
  }
  return ok();
}
// The end of a step, and no wait within it.
cudaError_t cudaDeviceSynchronize() {
  in_context();
  Ledger::get().end_step();
  return ok();
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = 1;
  return ok();
}
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) {
  return ok();
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  static char only;
  *pool = reinterpret_cast<cudaMemPool_t>(&only);
  return ok();
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = number("FAKE_CUDA_DRIVER", 13000);
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(
    const char* name, void** entry, unsigned, unsigned long long, cudaDriverEntryPointQueryResult* result) {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  *entry = driver == nullptr ? nullptr : dlsym(driver, name);
  if (*entry == nullptr && driver != nullptr) {
    *entry = dlsym(driver, "fake_driver_call");
  }
  if (result != nullptr) {
    *result = cudaDriverEntryPointSuccess;
  }
  return cudaSuccess;
}

// Memory.
cudaError_t cudaMalloc(void** at, size_t bytes) {
  in_context();
  Ledger::get().add("allocations");
  *at = Faults::get().malloc_fails() ? nullptr : Memory::get().take(bytes, current, Place::Device);
  return Faults::get().result(*at == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaFree(void* at) {
  in_context();
  Memory::get().give_back(at);
  return ok();
}
cudaError_t cudaMallocAsync(void** at, size_t bytes, cudaStream_t) {
  return cudaMalloc(at, bytes);
}
cudaError_t cudaFreeAsync(void* at, cudaStream_t) {
  return cudaFree(at);
}
cudaError_t cudaHostAlloc(void** at, size_t bytes, unsigned) {
  in_context();
  Ledger::get().add("pinned_allocations");
  *at = Memory::get().take(bytes, current, Place::Pinned);
  return Faults::get().result(*at == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaFreeHost(void* at) {
  Memory::get().give_back(at);
  return ok();
}
cudaError_t cudaHostRegister(void*, size_t, unsigned) {
  return ok();
}
cudaError_t cudaHostUnregister(void*) {
  return ok();
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  in_context();
  *free = Memory::get().free_bytes();
  *total = Memory::get().total();
  return ok();
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* of, const void* at) {
  std::memset(of, 0, sizeof(*of));
  const auto block = Memory::get().at(at);
  of->device = block.device;
  if (block.place == Place::Pageable) {
    of->type = cudaMemoryTypeUnregistered;
    return ok();
  }
  of->type = block.place == Place::Device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
  of->devicePointer = const_cast<void*>(at);
  of->hostPointer = block.place == Place::Pinned ? const_cast<void*>(at) : nullptr;
  return ok();
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  Ledger::get().add("waits");
  return copy(to, from, bytes);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  return copy(to, from, bytes);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t) {
  return copy(to, from, bytes);
}
cudaError_t cudaMemcpy2DAsync(
    void*, size_t, const void*, size_t, size_t width, size_t height, cudaMemcpyKind, cudaStream_t) {
  Ledger::get().add("copies_2d");
  Ledger::get().add("bytes_2d", static_cast<long>(width * height));
  return ok();
}
cudaError_t cudaMemset(void* at, int value, size_t bytes) {
  return fill(at, value, bytes);
}
cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  return fill(at, value, bytes);
}

// Streams and events: all that was asked for is done at once, though an order may keep events from saying so.
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  in_context();
  *stream = static_cast<cudaStream_t>(std::malloc(16));
  return ok();
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithPriority(stream, 0, 0);
}
cudaError_t cudaStreamDestroy(cudaStream_t) {
  return ok();
}
cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) {
  *priority = 0;
  return ok();
}
cudaError_t cudaStreamQuery(cudaStream_t) {
  return ok();
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return wait();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
  return ok();
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return ok();
}
cudaError_t cudaStreamGetCaptureInfo(
    cudaStream_t,
    cudaStreamCaptureStatus* status,
    unsigned long long* id,
    cudaGraph_t*,
    const cudaGraphNode_t**,
    const cudaGraphEdgeData**,
    size_t*) {
  *status = cudaStreamCaptureStatusNone;
  if (id != nullptr) {
    *id = 0;
  }
  return ok();
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) {
  return ok();
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  in_context();
  *event = reinterpret_cast<cudaEvent_t>(new std::atomic<long>(0));
  return ok();
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, 0);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete polls_left(event);
  return ok();
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1;
  return ok();
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return Faults::get().result(polls_left(event)->fetch_sub(1) > 0 ? cudaErrorNotReady : cudaSuccess);
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  polls_left(event)->store(Faults::get().event_polls());
  return ok();
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
  return cudaEventRecord(event, stream);
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return wait();
}

// Errors.
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    default:
      return "not supported by the fake GPU";
  }
}
const char* cudaGetErrorName(cudaError_t) {
  return "cudaErrorOfTheFakeGpu";
}
cudaError_t cudaGetLastError() {
  return Faults::get().take_last();
}
cudaError_t cudaPeekAtLastError() {
  return ok();
}

} // extern "C"

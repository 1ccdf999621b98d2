// Puts back what was mended, as FAKE_CUDA_REGRESSION orders, so that the check can show that its bounds notice: `fill`,
// every uninitialised tensor is filled; `tf32`, float32 products may be TF32. Stands before functions of libtorch.
#include <dlfcn.h>
#include <cstdlib>
#include <cstring>

namespace {

bool is_put_back(const char* what) {
  const char* order = std::getenv("FAKE_CUDA_REGRESSION");
  return order != nullptr && std::strcmp(order, what) == 0;
}

// The function of libtorch behind the one of this name here.
void set_in_context(const char* name, void* context, bool on) {
  auto behind = reinterpret_cast<void (*)(void*, bool)>(dlsym(RTLD_NEXT, name));
  behind(context, on);
}

} // namespace

extern "C" {

// at::Context::setDeterministicFillUninitializedMemory(bool)
void _ZN2at7Context39setDeterministicFillUninitializedMemoryEb(void* context, bool on) {
  set_in_context("_ZN2at7Context39setDeterministicFillUninitializedMemoryEb", context, on || is_put_back("fill"));
}

// at::Context::setAllowTF32CuBLAS(bool)
void _ZN2at7Context18setAllowTF32CuBLASEb(void* context, bool on) {
  set_in_context("_ZN2at7Context18setAllowTF32CuBLASEb", context, on || is_put_back("tf32"));
}

} // extern "C"

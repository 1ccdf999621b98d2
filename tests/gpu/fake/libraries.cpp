// Fakes of the calls of cuBLAS, cuBLASLt and cuDNN that libtorch makes. They are loaded before the real libraries, whose
// other calls stay; whatever would compute is counted as a launch. Every call gives 0, which is success in all three.
#include "fake.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

#define SUCCEEDS(name) \
  extern "C" int name(...) { return 0; }
#define COMPUTES(name)          \
  extern "C" int name(...) {    \
    fake_library_launch(#name); \
    return 0;                   \
  }
// A product of float32, which a math mode of its handle may let be TF32.
#define MULTIPLIES(name)                           \
  extern "C" int name(void* handle, ...) {         \
    if (static_cast<Blas*>(handle)->tf32) {        \
      fake_count("tf32_products");                 \
    }                                              \
    fake_library_launch(#name);                    \
    return 0;                                      \
  }

namespace {
struct Blas {
  bool tf32;
};

// An opaque object that only the fakes look at.
int opaque(void** handle) {
  *handle = std::calloc(1, 256);
  return 0;
}
} // namespace

// cuBLAS
extern "C" int cublasCreate_v2(void** handle) {
  return opaque(handle);
}
extern "C" int cublasSetMathMode(void* handle, int mode) {
  // CUBLAS_TF32_TENSOR_OP_MATH, beside flags.
  static_cast<Blas*>(handle)->tf32 = (mode & 15) == 3;
  return 0;
}
extern "C" int cublasGetMathMode(void*, int* mode) {
  *mode = 0;
  return 0;
}
extern "C" int cublasGetPointerMode_v2(void*, int* mode) {
  *mode = 0;
  return 0;
}
SUCCEEDS(cublasDestroy_v2)
SUCCEEDS(cublasSetStream_v2)
SUCCEEDS(cublasSetPointerMode_v2)
SUCCEEDS(cublasSetWorkspace_v2)
MULTIPLIES(cublasSgemm_v2)
MULTIPLIES(cublasSgemmEx)
MULTIPLIES(cublasGemmEx)
MULTIPLIES(cublasSgemmStridedBatched)
MULTIPLIES(cublasGemmStridedBatchedEx)
COMPUTES(cublasSgemv_v2)
COMPUTES(cublasSdot_v2)
COMPUTES(cublasDotEx)
COMPUTES(cublasDgemm_v2)
COMPUTES(cublasDgemv_v2)
COMPUTES(cublasDdot_v2)
COMPUTES(cublasDgemmStridedBatched)

// cuBLASLt
extern "C" int cublasLtMatmulDescCreate(void** handle, int compute, int) {
  opaque(handle);
  // CUBLAS_COMPUTE_32F_FAST_TF32.
  static_cast<Blas*>(*handle)->tf32 = compute == 77;
  return 0;
}
extern "C" int cublasLtMatmulPreferenceCreate(void** handle) {
  return opaque(handle);
}
extern "C" int cublasLtMatrixLayoutCreate(void** handle, int, uint64_t, uint64_t, int64_t) {
  return opaque(handle);
}
extern "C" int cublasLtMatmulDescDestroy(void* handle) {
  std::free(handle);
  return 0;
}
extern "C" int cublasLtMatmulPreferenceDestroy(void* handle) {
  std::free(handle);
  return 0;
}
extern "C" int cublasLtMatrixLayoutDestroy(void* handle) {
  std::free(handle);
  return 0;
}
SUCCEEDS(cublasLtMatmulDescSetAttribute)
SUCCEEDS(cublasLtMatmulPreferenceSetAttribute)
SUCCEEDS(cublasLtMatrixLayoutSetAttribute)
// cublasLtMatmulHeuristicResult_t of cublasLt.h.
struct Heuristic {
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};
extern "C" int cublasLtMatmulAlgoGetHeuristic(
    void*, void*, void*, void*, void*, void*, void*, int, Heuristic* results, int* found) {
  std::memset(results, 0, sizeof(*results));
  *found = 1;
  return 0;
}
extern "C" int cublasLtMatmul(void*, void* descriptor, ...) {
  if (static_cast<Blas*>(descriptor)->tf32) {
    fake_count("tf32_products");
  }
  fake_library_launch("cublasLtMatmul");
  return 0;
}

// cuDNN: its frontend builds descriptors, asks for engines, and executes plans.
extern "C" int cudnnCreate(void** handle) {
  return opaque(handle);
}
extern "C" int cudnnGetStream(void*, void** stream) {
  *stream = nullptr;
  return 0;
}
extern "C" int cudnnBackendCreateDescriptor(int, void** descriptor) {
  return opaque(descriptor);
}
extern "C" int cudnnBackendDestroyDescriptor(void* descriptor) {
  std::free(descriptor);
  return 0;
}
SUCCEEDS(cudnnDestroy)
SUCCEEDS(cudnnSetStream)
SUCCEEDS(cudnnBackendInitialize)
// A descriptor, as far as the fakes look: whether it is a graph of several operations.
struct Described {
  bool fused;
};
extern "C" int cudnnBackendSetAttribute(void* descriptor, int name, int, int64_t count, const void*) {
  // CUDNN_ATTR_OPERATIONGRAPH_OPS
  if (name == 801) {
    static_cast<Described*>(descriptor)->fused = count > 1;
  }
  return 0;
}
extern "C" int cudnnBackendFinalize(void* descriptor) {
  // CUDNN_STATUS_NOT_SUPPORTED
  return static_cast<Described*>(descriptor)->fused && fake_refuses_fusion() ? 3000 : 0;
}
// One engine without notes, whose numbers are all 0.
extern "C" int cudnnBackendGetAttribute(void*, int, int type, int64_t asked, int64_t* count, void* out) {
  // cudnnBackendAttributeType_t: wide ones are INT64, DOUBLE and VOID_PTR; notes are NUMERICAL_NOTE and BEHAVIOR_NOTE.
  enum { INT64 = 3, DOUBLE = 5, VOID_PTR = 6, NUMERICAL_NOTE = 11, BACKEND_DESCRIPTOR = 15, BEHAVIOR_NOTE = 18 };
  const bool note = type == NUMERICAL_NOTE || type == BEHAVIOR_NOTE;
  if (count != nullptr) {
    *count = note ? 0 : 1;
  }
  if (!note && out != nullptr && asked > 0 && type != BACKEND_DESCRIPTOR) {
    const bool wide = type == INT64 || type == DOUBLE || type == VOID_PTR;
    std::memset(out, 0, wide ? 8 : 4);
  }
  return 0;
}
COMPUTES(cudnnBackendExecute)
COMPUTES(cudnnBatchNormalizationForwardInference)
COMPUTES(cudnnBatchNormalizationForwardTrainingEx)
COMPUTES(cudnnBatchNormalizationBackwardEx)
// Sizes that stand for the real ones.
extern "C" int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(
    void*, int, int, void*, void*, void*, void*, void*, size_t* bytes) {
  *bytes = 256;
  return 0;
}
extern "C" int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void*, int, int, void*, void*, size_t* bytes) {
  *bytes = 256;
  return 0;
}
extern "C" int cudnnGetBatchNormalizationBackwardExWorkspaceSize(
    void*, int, int, void*, void*, void*, void*, void*, void*, void*, size_t* bytes) {
  *bytes = 256;
  return 0;
}

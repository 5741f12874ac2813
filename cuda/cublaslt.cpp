#include "cuda/cublaslt.h"

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "cuda/check.h"
#include "cuda/elements.h"
#include "cuda/memory.h"

#define OFFSHOOT_CUBLAS_CHECK(call)                                                \
  do {                                                                             \
    if (const cublasStatus_t status_ = (call); status_ != CUBLAS_STATUS_SUCCESS) { \
      fail_call(status_, #call);                                                   \
    }                                                                              \
  } while (false)

namespace offshoot::cuda {
namespace {

[[noreturn]] void fail_call(cublasStatus_t status, const char* call) {
  throw Error(std::string("[cuda] ") + call + ": " + cublasLtGetStatusString(status));
}

// What NVIDIA recommends for compute capability 9.0.
constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;
// Behind it, for a bias in the type of c, or a bias gradient still to be added.
constexpr int64_t kVectorBytes = int64_t{1} << 20;

// Of vectors and of aux, in bytes and in elements from row to row.
constexpr uint32_t kEpilogueAlignment = 16;
constexpr int64_t kAuxMultiple = 8;

// The largest power of two, up to 256, that divides the address.
uint32_t alignment_of(const void* at) {
  const auto address = reinterpret_cast<uintptr_t>(at) | 256;
  return static_cast<uint32_t>(address & -address);
}

cudaDataType_t data_type(ElementType type) {
  return type == ElementType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

cublasLtEpilogue_t library_epilogue(GemmEpilogue epilogue) {
  switch (epilogue) {
    case GemmEpilogue::bias:
      return CUBLASLT_EPILOGUE_BIAS;
    case GemmEpilogue::bias_gelu:
      return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    case GemmEpilogue::dgelu:
      return CUBLASLT_EPILOGUE_DGELU;
    case GemmEpilogue::dgelu_bias_gradient:
      return CUBLASLT_EPILOGUE_DGELU_BGRAD;
    case GemmEpilogue::bias_gradient:
      return CUBLASLT_EPILOGUE_BGRADB;  // our a is the library's b
    case GemmEpilogue::none:
      break;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

// All that the choice of an algorithm depends on.
struct Problem {
  int64_t M, N, K, lda, ldb, ldc, ld_aux, batch, stride_a, stride_b, stride_c;
  bool transpose_a, transpose_b;
  ElementType type, c_type;
  GemmEpilogue epilogue;
  uint32_t alignment_a, alignment_b, alignment_c, alignment_aux, alignment_vector;

  auto operator<=>(const Problem&) const = default;
};

Problem problem_of(const Gemm& g, const void* vector) {
  return {.M = g.M,
          .N = g.N,
          .K = g.K,
          .lda = g.lda,
          .ldb = g.ldb,
          .ldc = g.ldc,
          .ld_aux = g.ld_aux,
          .batch = g.batch,
          .stride_a = g.stride_a,
          .stride_b = g.stride_b,
          .stride_c = g.stride_c,
          .transpose_a = g.transpose_a,
          .transpose_b = g.transpose_b,
          .type = g.a.type,
          .c_type = g.c.type,
          .epilogue = g.epilogue,
          .alignment_a = alignment_of(g.a.data),
          .alignment_b = alignment_of(g.b.data),
          .alignment_c = alignment_of(g.c.data),
          .alignment_aux = alignment_of(g.aux.data),
          .alignment_vector = alignment_of(vector)};
}

// Up to an eighth more, so that row counts that change with every step share an algorithm.
int64_t rounded_up(int64_t rows) {
  const auto octave = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows)));
  const int64_t step = std::max<int64_t>(octave / 8, 8);
  return (rows + step - 1) / step * step;
}

// The problem with sizes rounded that are mere row counts: of a and c, or of a and b.
Problem with_rounded_rows(Problem problem) {
  if (problem.batch != 1) return problem;
  if (!problem.transpose_a) {
    problem.M = rounded_up(problem.M);
  } else if (!problem.transpose_b) {
    problem.K = rounded_up(problem.K);
  }
  return problem;
}

// The library's view: matrices are stored by columns there, so that our c is its transpose, the
// product of b and a in this order. Descriptors live on the stack.
struct Descriptors {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t a, b, c;

  Descriptors(const Problem& problem, const void* vector, const void* aux) {
    OFFSHOOT_CUBLAS_CHECK(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(CUBLASLT_MATMUL_DESC_TRANSA, problem.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, problem.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, library_epilogue(problem.epilogue));
    if (vector != nullptr) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector);
    if (aux != nullptr) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, problem.ld_aux);
    }
    const auto type = data_type(problem.type);
    layout(a, type, problem.N, problem.K, problem.transpose_b, problem.ldb, problem.batch,
           problem.stride_b);
    layout(b, type, problem.K, problem.M, problem.transpose_a, problem.lda, problem.batch,
           problem.stride_a);
    layout(c, data_type(problem.c_type), problem.N, problem.M, false, problem.ldc, problem.batch,
           problem.stride_c);
  }

  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    OFFSHOOT_CUBLAS_CHECK(
        cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof(value)));
  }

  static void layout(cublasLtMatrixLayoutOpaque_t& out, cudaDataType_t type, int64_t rows,
                     int64_t columns, bool transpose, int64_t ld, int64_t batch, int64_t stride) {
    if (transpose) std::swap(rows, columns);
    OFFSHOOT_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&out, type, static_cast<uint64_t>(rows),
                                                   static_cast<uint64_t>(columns), ld));
    if (batch == 1) return;
    const auto count = static_cast<int32_t>(batch);
    OFFSHOOT_CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(&out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                           &count, sizeof(count)));
    OFFSHOOT_CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(
        &out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof(stride)));
  }
};

bool refused(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE;
}

using Algorithm = std::optional<cublasLtMatmulAlgo_t>;

// One device's handle, workspace and algorithms.
class Library {
 public:
  explicit Library(int device) : memory_(kWorkspaceBytes + kVectorBytes, device) {
    if (const auto why = memory_.commit(memory_.reserved_bytes()); !why.empty()) {
      throw Error("[cuda] workspace of products: " + why);
    }
    OFFSHOOT_CUBLAS_CHECK(cublasLtCreate(&handle_));
  }

  cublasLtHandle_t handle() const { return handle_; }
  void* workspace() const { return memory_.data(); }
  void* vector() const { return memory_.data() + kWorkspaceBytes; }

  // That of the rounded problem, so that it does not depend on what came before; where it does not
  // suit this one, its own.
  Algorithm algorithm(const Problem& problem, const void* bias, const void* aux,
                      Descriptors& descriptors) {
    const Algorithm usual = remembered(with_rounded_rows(problem), bias, aux);
    if (usual && suits(*usual, descriptors)) return usual;
    return remembered(problem, bias, aux);
  }

 private:
  const Algorithm& remembered(const Problem& problem, const void* bias, const void* aux) {
    const auto known = algorithms_.find(problem);
    if (known != algorithms_.end()) return known->second;
    return algorithms_.emplace(problem, ask(problem, bias, aux)).first->second;
  }

  bool suits(const cublasLtMatmulAlgo_t& algorithm, Descriptors& d) const {
    cublasLtMatmulHeuristicResult_t result{};
    return cublasLtMatmulAlgoCheck(handle_, &d.operation, &d.a, &d.b, &d.c, &d.c, &algorithm,
                                   &result) == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= static_cast<size_t>(kWorkspaceBytes);
  }

  Algorithm ask(const Problem& problem, const void* bias, const void* aux) const {
    Descriptors d(problem, bias, aux);
    cublasLtMatmulPreferenceOpaque_t preference;
    OFFSHOOT_CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
    const auto set = [&preference]<class T>(cublasLtMatmulPreferenceAttributes_t what, T value) {
      OFFSHOOT_CUBLAS_CHECK(
          cublasLtMatmulPreferenceSetAttribute(&preference, what, &value, sizeof(value)));
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspaceBytes));
    // Parts of k are added up in float32 and in order, or not made. In place they would be added
    // in the type of c, as they arrive.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem.alignment_b);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem.alignment_a);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem.alignment_c);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem.alignment_c);

    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle_, &d.operation, &d.a, &d.b, &d.c, &d.c, &preference, 1, &result, &count);
    if (refused(status) || (status == CUBLAS_STATUS_SUCCESS && count == 0)) return std::nullopt;
    OFFSHOOT_CUBLAS_CHECK(status);
    if (result.state != CUBLAS_STATUS_SUCCESS) return std::nullopt;
    return result.algo;
  }

  cublasLtHandle_t handle_ = nullptr;
  AddressSpace memory_;
  std::map<Problem, Algorithm> algorithms_;
};

std::mutex mutex;

// Never destroyed: the driver may be gone when statics are.
Library& library_of(int device) {
  static auto& libraries = *new std::map<int, std::unique_ptr<Library>>;
  std::unique_ptr<Library>& library = libraries[device];
  if (!library) library = std::make_unique<Library>(device);
  return *library;
}

bool takes_bias(GemmEpilogue epilogue) {
  return epilogue == GemmEpilogue::bias || epilogue == GemmEpilogue::bias_gelu;
}
bool gives_dbias(GemmEpilogue epilogue) {
  return epilogue == GemmEpilogue::bias_gradient || epilogue == GemmEpilogue::dgelu_bias_gradient;
}

template <class To>
void convert(ConstElements from, To* to, int64_t count, bool overwrite, Stream stream) {
  if (from.type == ElementType::f32) {
    accumulate_elements(static_cast<const float*>(from.data), to, count, overwrite, stream);
  } else {
    accumulate_elements(static_cast<const bfloat16*>(from.data), to, count, overwrite, stream);
  }
}
void convert(ConstElements from, Elements to, int64_t count, bool overwrite, Stream stream) {
  if (to.type == ElementType::f32) {
    convert(from, static_cast<float*>(to.data), count, overwrite, stream);
  } else {
    convert(from, static_cast<bfloat16*>(to.data), count, overwrite, stream);
  }
}

}  // namespace

bool cublaslt_gemm(const Gemm& g, int device, Stream stream) {
  const std::lock_guard lock(mutex);
  Library& library = library_of(device);
  const bool has_bias = takes_bias(g.epilogue), has_dbias = gives_dbias(g.epilogue);

  if (g.aux && (g.ld_aux % kAuxMultiple != 0 || alignment_of(g.aux.data) < kEpilogueAlignment)) {
    return false;
  }
  // The library's vector has the type of c. A bias is rounded to it, as c itself is; a gradient is
  // not.
  if (has_dbias && g.c.type == ElementType::bf16 && g.dbias.type == ElementType::f32) return false;
  const ConstElements given = has_bias    ? g.bias
                              : has_dbias ? ConstElements(g.dbias)
                                          : ConstElements();
  const int64_t size = g.epilogue == GemmEpilogue::bias_gradient ? g.M : g.N;
  const bool direct = given.type == g.c.type && alignment_of(given.data) >= kEpilogueAlignment &&
                      (has_bias || g.overwrite_dbias);
  const bool through_scratch = given && !direct;
  if (through_scratch && size * element_bytes(g.c.type) > kVectorBytes) return false;
  const Elements scratch(library.vector(), g.c.type);
  const void* const vector = through_scratch ? scratch.data : given.data;

  const Problem problem = problem_of(g, vector);
  Descriptors descriptors(problem, vector, g.aux.data);
  const Algorithm algorithm = library.algorithm(problem, vector, g.aux.data, descriptors);
  if (!algorithm) return false;

  if (has_bias && through_scratch) convert(g.bias, scratch, size, true, stream);
  const float alpha = 1.0f, beta = g.overwrite ? 0.0f : 1.0f;
  const cublasStatus_t status =
      cublasLtMatmul(library.handle(), &descriptors.operation, &alpha, g.b.data, &descriptors.a,
                     g.a.data, &descriptors.b, &beta, g.c.data, &descriptors.c, g.c.data,
                     &descriptors.c, &*algorithm, library.workspace(), kWorkspaceBytes, stream);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return false;
  OFFSHOOT_CUBLAS_CHECK(status);
  if (has_dbias && through_scratch) convert(scratch, g.dbias, size, g.overwrite_dbias, stream);
  return true;
}

}  // namespace offshoot::cuda

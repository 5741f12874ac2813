#include "cuda/gemm.h"

#include <string>

#include "cuda/cublaslt.h"
#include "cuda/error.h"
#include "cuda/gemm_epilogue.h"
#include "cuda/gemm_simt.h"

namespace offshoot::cuda {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error("[gemm] " + what); }

void check_at_least(const char* what, int64_t got, int64_t least) {
  if (got < least) {
    fail(std::string(what) + ": got " + std::to_string(got) + ", expected at least " +
         std::to_string(least));
  }
}

void check_type(const char* what, ElementType got, ElementType expected) {
  if (got != expected) {
    fail(std::string(what) + ": got " + element_name(got) + ", expected " + element_name(expected));
  }
}

void check_given(const char* what, const void* data, int64_t count) {
  if (data == nullptr && count != 0) fail(std::string(what) + ": got null, expected memory");
}

bool has_gelu(GemmEpilogue epilogue) {
  return epilogue == GemmEpilogue::bias_gelu || epilogue == GemmEpilogue::dgelu ||
         epilogue == GemmEpilogue::dgelu_bias_gradient;
}

void check_epilogue(const Gemm& g) {
  const GemmEpilogue epilogue = g.epilogue;
  if (epilogue != GemmEpilogue::none && epilogue != GemmEpilogue::bias && g.batch != 1) {
    fail("batch: got " + std::to_string(g.batch) + " with this epilogue, expected 1");
  }
  if (epilogue == GemmEpilogue::bias || epilogue == GemmEpilogue::bias_gelu) {
    check_given("bias", g.bias.data, g.N);
  }
  if (epilogue == GemmEpilogue::bias_gradient) check_given("dbias", g.dbias.data, g.M);
  if (epilogue == GemmEpilogue::dgelu_bias_gradient) check_given("dbias", g.dbias.data, g.N);
  if (has_gelu(epilogue)) {
    check_type("c of a product with GELU", g.c.type, ElementType::bf16);
    check_type("aux", g.aux.type, ElementType::bf16);
    check_given("aux", g.aux.data, g.M * g.N);
    check_at_least("ld_aux", g.ld_aux, g.N);
    if (!g.overwrite) fail("overwrite: got false with GELU, expected true");
  }
}

void check(const Gemm& g) {
  check_at_least("M", g.M, 0);
  check_at_least("N", g.N, 0);
  check_at_least("K", g.K, 0);
  check_at_least("batch", g.batch, 0);
  check_type("b beside a", g.b.type, g.a.type);
  if (g.c.type == ElementType::bf16) check_type("a beside such a c", g.a.type, ElementType::bf16);
  check_given("a", g.a.data, g.M * g.K * g.batch);
  check_given("b", g.b.data, g.K * g.N * g.batch);
  check_given("c", g.c.data, g.M * g.N * g.batch);
  check_at_least("lda", g.lda, g.transpose_a ? g.M : g.K);
  check_at_least("ldb", g.ldb, g.transpose_b ? g.K : g.N);
  check_at_least("ldc", g.ldc, g.N);
  // What is written must not overlap; what is read may.
  if (g.batch > 1) check_at_least("stride_c", g.stride_c, g.M == 0 ? 0 : (g.M - 1) * g.ldc + g.N);
  check_epilogue(g);
}

Gemm with_leading_dimensions(Gemm g) {
  if (g.lda == 0) g.lda = g.transpose_a ? g.M : g.K;
  if (g.ldb == 0) g.ldb = g.transpose_b ? g.K : g.N;
  if (g.ldc == 0) g.ldc = g.N;
  if (g.ld_aux == 0) g.ld_aux = g.N;
  return g;
}

}  // namespace

void gemm(const Gemm& product, int device, Stream stream) {
  const Gemm g = with_leading_dimensions(product);
  check(g);
  if (g.M > 0 && g.N > 0 && g.batch > 0) {
    if (g.K > 0 && cublaslt_gemm(g, device, stream)) return;
    Gemm bare = g;
    bare.epilogue = GemmEpilogue::none;
    const bool fusion_refused = g.K > 0 && g.epilogue != GemmEpilogue::none;
    if (!fusion_refused || !cublaslt_gemm(bare, device, stream)) simt_gemm(bare, stream);
  }
  gemm_epilogue(g, stream);
}

}  // namespace offshoot::cuda

#include "tools/bench/onednn.h"

#include <dnnl.h>
#include <omp.h>

#include "engine/error.h"

namespace offshoot {

void set_onednn_threads(int count) { omp_set_num_threads(count); }

void onednn_gemm(int64_t M, int64_t N, int64_t K, const OnednnMatrix& a, const OnednnMatrix& b,
                 float* c, int64_t ldc) {
  const dnnl_status_t status = dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', M, N,
                                          K, 1.0f, a.data, a.ld, b.data, b.ld, 0.0f, c, ldc);
  if (status != dnnl_success) {
    fail("onednn", "sgemm {} x {} x {}: got status {}, expected success", M, N, K,
         static_cast<int>(status));
  }
}

}  // namespace offshoot

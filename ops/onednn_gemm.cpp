#include "ops/onednn_gemm.h"

#include <dnnl.h>
#include <omp.h>

#include "engine/error.h"

namespace offshoot {
namespace {

// oneDNN would start OpenMP's threads beside ours.
class OneOpenMpThread {
 public:
  OneOpenMpThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneOpenMpThread() { omp_set_num_threads(before_); }
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  int before_;
};

char transposed_flag(MatrixView<float> view) { return view.column_stride == 1 ? 'N' : 'T'; }

int64_t leading_dimension(MatrixView<float> view) {
  return view.column_stride == 1 ? view.row_stride : view.column_stride;
}

}  // namespace

void onednn_gemm(int64_t M, int64_t N, int64_t K, MatrixView<float> a, MatrixView<float> b,
                 float* c, int64_t ldc, bool overwrite) {
  const OneOpenMpThread one_thread;
  const dnnl_status_t status = dnnl_sgemm(transposed_flag(a), transposed_flag(b), M, N, K, 1.0f,
                                          a.data, leading_dimension(a), b.data,
                                          leading_dimension(b), overwrite ? 0.0f : 1.0f, c, ldc);
  if (status != dnnl_success) {
    fail("gemm", "[{}, {}] x [{}, {}]: oneDNN's status {}, expected success", M, K, K, N,
         static_cast<int>(status));
  }
}

}  // namespace offshoot

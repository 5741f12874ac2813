#include "cuda/attention_cudnn.h"

#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include <array>
#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/check.h"
#include "cuda/context.h"

namespace offshoot::cuda {
namespace {

namespace fe = cudnn_frontend;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

[[noreturn]] void fail(const std::string& what, const std::string& text) {
  throw Error("[cudnn] " + what + ": " + text);
}

void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS) fail(call, cudnnGetErrorString(status));
}

// Names of a graph's tensors.
enum Id : int64_t { kQ = 1, kK, kV, kOut, kLogSums, kDout, kDq, kDk, kDv };

struct Strides {
  int64_t row, batch;

  auto operator<=>(const Strides&) const = default;
};

template <class T>
Strides strides(const AttentionRows<T>& rows) {
  return {rows.row_stride, rows.batch_stride};
}

// All that a graph depends on. Of a forward one, the gradients' strides are 0.
struct Problem {
  int64_t B, Tq, Tk, heads, Dh;
  float scale;
  bool causal, backward;
  Strides q, k, v, out, dout, dq, dk, dv;

  auto operator<=>(const Problem&) const = default;
};

struct Plan {
  std::shared_ptr<fe::graph::Graph> graph;  // null: cuDNN has nothing for the problem
  int64_t workspace_bytes;
};

// Elements of sequences of T rows: heads side by side, as [B, heads, T, Dh].
fe::graph::Tensor_attributes attributes(const Problem& p, Id id, int64_t T, const Strides& at) {
  return fe::graph::Tensor_attributes()
      .set_uid(id)
      .set_dim({p.B, p.heads, T, p.Dh})
      .set_stride({at.batch, p.Dh, at.row, 1});
}

void set_output(const Problem& p, const Tensor& tensor, Id id, int64_t T, const Strides& at) {
  tensor->set_output(true)
      .set_uid(id)
      .set_dim({p.B, p.heads, T, p.Dh})
      .set_stride({at.batch, p.Dh, at.row, 1});
}

std::vector<int64_t> log_sum_dims(const Problem& p) { return {p.B, p.heads, p.Tq, 1}; }
std::vector<int64_t> log_sum_strides(const Problem& p) { return {p.heads * p.Tq, p.Tq, 1, 1}; }

template <class Options>
Options options(const Problem& p) {
  Options options;
  options.set_name("attention").set_attn_scale(p.scale);
  if (p.causal) {
    options.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0);
  }
  return options;
}

void add_forward(const Problem& p, fe::graph::Graph& graph, const std::array<Tensor, 3>& qkv) {
  auto how = options<fe::graph::SDPA_attributes>(p);
  how.set_generate_stats(true);
  const auto [out, log_sums] = graph.sdpa(qkv[0], qkv[1], qkv[2], how);
  set_output(p, out, kOut, p.Tq, p.out);
  log_sums->set_output(true)
      .set_uid(kLogSums)
      .set_data_type(fe::DataType_t::FLOAT)
      .set_dim(log_sum_dims(p))
      .set_stride(log_sum_strides(p));
}

void add_backward(const Problem& p, fe::graph::Graph& graph, const std::array<Tensor, 3>& qkv) {
  auto how = options<fe::graph::SDPA_backward_attributes>(p);
  how.set_deterministic_algorithm(true);
  const Tensor out = graph.tensor(attributes(p, kOut, p.Tq, p.out));
  const Tensor dout = graph.tensor(attributes(p, kDout, p.Tq, p.dout));
  const Tensor log_sums = graph.tensor(fe::graph::Tensor_attributes()
                                           .set_uid(kLogSums)
                                           .set_data_type(fe::DataType_t::FLOAT)
                                           .set_dim(log_sum_dims(p))
                                           .set_stride(log_sum_strides(p)));
  const auto [dq, dk, dv] = graph.sdpa_backward(qkv[0], qkv[1], qkv[2], out, dout, log_sums, how);
  set_output(p, dq, kDq, p.Tq, p.dq);
  set_output(p, dk, kDk, p.Tk, p.dk);
  set_output(p, dv, kDv, p.Tk, p.dv);
}

// Rather than an answer that there is no plan.
bool is_failure(const fe::error_t& status) {
  using enum fe::error_code_t;
  return status.code == CUDA_API_FAILED || status.code == INVALID_CUDA_DEVICE ||
         status.code == HANDLE_ERROR || status.code == NVRTC_COMPILATION_FAILED;
}

Plan make_plan(const Problem& p, cudnnHandle_t handle) {
  detail::refuse_capture("the plan of an attention");
  auto graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const std::array<Tensor, 3> qkv{graph->tensor(attributes(p, kQ, p.Tq, p.q)),
                                  graph->tensor(attributes(p, kK, p.Tk, p.k)),
                                  graph->tensor(attributes(p, kV, p.Tk, p.v))};
  p.backward ? add_backward(p, *graph, qkv) : add_forward(p, *graph, qkv);
  int64_t bytes = 0;
  fe::error_t built = graph->build(handle, {fe::HeurMode_t::A});
  if (is_failure(built)) fail("plan of an attention", built.get_message());
  if (built.is_bad() || graph->get_workspace_size(bytes).is_bad()) return {};
  return {graph, bytes};
}

// cuDNN on one device. Lives until the program ends, like the device's stream.
class Library {
 public:
  Library(int device, Stream stream) {
    use(device);
    check(cudnnCreate(&handle_), "cudnnCreate");
    check(cudnnSetStream(handle_, stream), "cudnnSetStream");
  }

  static Library& of(int device, Stream stream) {
    static std::mutex mutex;
    static std::map<int, Library*> libraries;
    const std::lock_guard lock(mutex);
    Library*& library = libraries[device];
    if (library == nullptr) library = new Library(device, stream);
    return *library;
  }

  // False when there is no plan for the problem.
  bool run(const Problem& problem, std::unordered_map<int64_t, void*> tensors,
           const Scratch& scratch) {
    const std::lock_guard lock(mutex_);  // a handle is for one thread at a time
    auto at = plans_.find(problem);
    if (at == plans_.end()) at = plans_.emplace(problem, make_plan(problem, handle_)).first;
    const Plan& plan = at->second;
    if (plan.graph == nullptr) return false;
    void* const workspace = plan.workspace_bytes > 0 ? scratch(plan.workspace_bytes) : nullptr;
    auto status = plan.graph->execute(handle_, tensors, workspace);
    if (status.is_bad()) fail("attention", status.get_message());
    return true;
  }

 private:
  cudnnHandle_t handle_ = nullptr;
  std::mutex mutex_;
  std::map<Problem, Plan> plans_;
};

// 16-byte vectors are what its kernels load.
constexpr int64_t kBytes = 16, kElements = kBytes / static_cast<int64_t>(sizeof(bfloat16));

template <class... T>
bool aligned(const AttentionRows<T>&... rows) {
  return ((reinterpret_cast<uintptr_t>(rows.data) % kBytes == 0 &&
           rows.row_stride % kElements == 0 && rows.batch_stride % kElements == 0) &&
          ...);
}

bool suits(const Attention<bfloat16>& a) {
  return a.key_mask == nullptr && a.Dh % kElements == 0 && a.B > 0 && a.Tq > 0 && a.Tk > 0 &&
         aligned(a.q, a.k, a.v);
}

Problem problem(const Attention<bfloat16>& a, const Strides& out) {
  Problem p{};
  p.B = a.B, p.Tq = a.Tq, p.Tk = a.Tk, p.heads = a.heads, p.Dh = a.Dh;
  p.scale = a.scale, p.causal = a.causal;
  p.q = strides(a.q), p.k = strides(a.k), p.v = strides(a.v), p.out = out;
  return p;
}

template <class T>
void* address(const AttentionRows<T>& rows) {
  return const_cast<void*>(static_cast<const void*>(rows.data));
}

}  // namespace

bool cudnn_attention_forward(const Attention<bfloat16>& a, const AttentionRows<bfloat16>& out,
                             float* log_sums, const Scratch& scratch, int device, Stream stream) {
  if (!suits(a) || !aligned(out)) return false;
  return Library::of(device, stream)
      .run(problem(a, strides(out)),
           {{kQ, address(a.q)},
            {kK, address(a.k)},
            {kV, address(a.v)},
            {kOut, address(out)},
            {kLogSums, log_sums}},
           scratch);
}

bool cudnn_attention_backward(const Attention<bfloat16>& a, const AttentionBackward<bfloat16>& back,
                              const Scratch& scratch, int device, Stream stream) {
  const auto &dq = back.dq.rows, &dk = back.dk.rows, &dv = back.dv.rows;
  const bool all = dq.data != nullptr && dk.data != nullptr && dv.data != nullptr;
  if (!suits(a) || !all || !aligned(back.out, back.dout, dq, dk, dv)) return false;
  if (!back.dq.overwrite || !back.dk.overwrite || !back.dv.overwrite) return false;
  Problem p = problem(a, strides(back.out));
  p.backward = true;
  p.dout = strides(back.dout);
  p.dq = strides(dq), p.dk = strides(dk), p.dv = strides(dv);
  return Library::of(device, stream)
      .run(p,
           {{kQ, address(a.q)},
            {kK, address(a.k)},
            {kV, address(a.v)},
            {kOut, address(back.out)},
            {kDout, address(back.dout)},
            {kLogSums, const_cast<float*>(back.log_sums)},
            {kDq, address(dq)},
            {kDk, address(dk)},
            {kDv, address(dv)}},
           scratch);
}

}  // namespace offshoot::cuda

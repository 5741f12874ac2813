#include "cuda/graph.h"

#include <utility>

#include "cuda/check.h"
#include "cuda/context.h"

namespace offshoot::cuda {
namespace {

// The stream captures from construction to end(), at the latest to destruction.
class Capture {
 public:
  explicit Capture(Stream stream) : stream_(stream) {
    // Other threads may meanwhile make calls that would spoil a capture in a stricter mode.
    OFFSHOOT_CUDA_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    detail::capturing() = true;
  }
  ~Capture() {
    if (detail::capturing()) {
      detail::capturing() = false;
      cudaStreamEndCapture(stream_, &graph_);
      cudaGetLastError();  // what goes through here as an exception is the error to tell
    }
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  // The graph belongs to this object.
  cudaGraph_t end() {
    detail::capturing() = false;
    OFFSHOOT_CUDA_CHECK(cudaStreamEndCapture(stream_, &graph_));
    return graph_;
  }

 private:
  Stream stream_;
  cudaGraph_t graph_ = nullptr;
};

}  // namespace

struct Graph::Executable {
  explicit Executable(int its_device) : device(its_device) {}
  ~Executable() {
    if (handle == nullptr) return;
    detail::count_synchronization();
    cudaStreamSynchronize(stream);  // a replay may be under way
    cudaGraphExecDestroy(handle);
  }
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;

  int device;
  Stream stream = nullptr;
  cudaGraphExec_t handle = nullptr;
};

Graph Graph::capture(int device, const std::function<void()>& work) {
  detail::refuse_capture("Graph::capture");
  auto executable = std::make_unique<Executable>(device);
  executable->stream = use(device);
  Capture capture(executable->stream);
  work();
  OFFSHOOT_CUDA_CHECK(cudaGraphInstantiate(&executable->handle, capture.end(), 0));
  return Graph(std::move(executable));
}

void Graph::replay() {
  detail::refuse_capture("Graph::replay");
  OFFSHOOT_CUDA_CHECK(cudaGraphLaunch(executable_->handle, use(executable_->device)));
}

Graph::Graph(std::unique_ptr<Executable> executable) : executable_(std::move(executable)) {}
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

}  // namespace offshoot::cuda

#include "cuda/graph.h"

#include <utility>
#include <vector>

#include "cuda/check.h"
#include "cuda/context.h"

namespace offshoot::cuda {
namespace {

// Of the graph that the calling thread captures.
thread_local std::vector<std::shared_ptr<void>>* kept = nullptr;

// The stream captures from construction to end(), at the latest to destruction.
class Capture {
 public:
  Capture(Stream stream, std::vector<std::shared_ptr<void>>& memory) : stream_(stream) {
    // Other threads may meanwhile make calls that would spoil a capture in a stricter mode.
    OFFSHOOT_CUDA_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    detail::capturing() = true;
    kept = &memory;
  }
  ~Capture() {
    kept = nullptr;
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
  std::vector<std::shared_ptr<void>> memory;  // that it writes to
};

Graph Graph::capture(int device, const std::function<void()>& work) {
  detail::refuse_capture("Graph::capture");
  auto executable = std::make_unique<Executable>(device);
  executable->stream = use(device);
  Capture capture(executable->stream, executable->memory);
  work();
  OFFSHOOT_CUDA_CHECK(cudaGraphInstantiate(&executable->handle, capture.end(), 0));
  return Graph(std::move(executable));
}

void Graph::replay() {
  detail::refuse_capture("Graph::replay");
  OFFSHOOT_CUDA_CHECK(cudaGraphLaunch(executable_->handle, use(executable_->device)));
}

void detail::keep_for_graph(std::shared_ptr<void> memory) { kept->push_back(std::move(memory)); }

Graph::Graph(std::unique_ptr<Executable> executable) : executable_(std::move(executable)) {}
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

}  // namespace offshoot::cuda

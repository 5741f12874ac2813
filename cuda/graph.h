// A graph: launches recorded once and replayed at the cost of one.
#pragma once

#include <functional>
#include <memory>

namespace offshoot::cuda {

// Launches keep their arguments: addresses, and sizes of the host. So what changes between replays
// must be read from device memory. AddressSpaces may grow meanwhile. Tensors made while capturing
// keep their memory until the graph dies; those made before must outlive it.
class Graph {
 public:
  // Records what `work` gives to the device's stream; nothing runs yet, and other threads leave the
  // device alone meanwhile. Copies to and from the host and waits throw Error inside. Throws what
  // `work` throws.
  static Graph capture(int device, const std::function<void()>& work);

  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  void replay();

 private:
  struct Executable;
  explicit Graph(std::unique_ptr<Executable> executable);
  std::unique_ptr<Executable> executable_;
};

}  // namespace offshoot::cuda

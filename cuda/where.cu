#include "cuda/reduce.cuh"
#include "cuda/where.h"

namespace offshoot::cuda {
namespace {

struct Choose {
  __device__ float operator()(float condition, float a, float b) const {
    return condition != 0.0f ? a : b;
  }
};

// The side that was not chosen gets 0.
struct Passes {
  bool where_true;
  __device__ float operator()(float condition, float g) const {
    return (condition != 0.0f) == where_true ? g : 0.0f;
  }
};

}  // namespace

template <class T>
void where_forward(const Walk& walk, const int32_t* condition, const T* a, const T* b, T* out,
                   Stream stream) {
  map(walk, Choose(), out, true, stream, condition, a, b);
}

template <class T>
void where_backward(const Walk& walk, bool where_true, const int32_t* condition, const T* dout,
                    T* grad, bool overwrite, float* scratch, Stream stream) {
  map_sum(walk, Passes{where_true}, grad, overwrite, scratch, stream, condition, dout);
}

#define OFFSHOOT_WHERE(T)                                                                     \
  template void where_forward(const Walk&, const int32_t*, const T*, const T*, T*, Stream);   \
  template void where_backward(const Walk&, bool, const int32_t*, const T*, T*, bool, float*, \
                               Stream);
OFFSHOOT_WHERE(float)
OFFSHOOT_WHERE(bfloat16)
#undef OFFSHOOT_WHERE

}  // namespace offshoot::cuda

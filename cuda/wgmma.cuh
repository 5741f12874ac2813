// wgmma of bfloat16 with float32 sums, for the widths in use: d += a b with a [64, 16], b [16, N]
// in shared memory, described by cuda/hopper.cuh, and d [64, N] over the registers of a warpgroup:
//   thread t has d[16 (t / 32) + t % 32 / 4 + 8 h][8 g + 2 (t % 4) + i] in d[4 g + 2 h + i]
// for h, i in {0, 1} and g in [0, N / 8).
#pragma once

#include <cstdint>

#define OFFSHOOT_OPERANDS_0_63                                                            \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, " \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define OFFSHOOT_OPERANDS_64_127                                                             \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, "    \
  "%81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, "    \
  "%98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, " \
  "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define OFFSHOOT_4_REGISTERS(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define OFFSHOOT_16_REGISTERS(i)                                                     \
  OFFSHOOT_4_REGISTERS(i), OFFSHOOT_4_REGISTERS(i + 4), OFFSHOOT_4_REGISTERS(i + 8), \
      OFFSHOOT_4_REGISTERS(i + 12)
#define OFFSHOOT_64_REGISTERS(i)                                                          \
  OFFSHOOT_16_REGISTERS(i), OFFSHOOT_16_REGISTERS(i + 16), OFFSHOOT_16_REGISTERS(i + 32), \
      OFFSHOOT_16_REGISTERS(i + 48)

namespace offshoot::cuda {

// kMnMajorA, kMnMajorB: whether k runs across the rows of the operand's boxes; else along them.
template <bool kMnMajorA, bool kMnMajorB>
__device__ __forceinline__ void wgmma(float (&d)[64], uint64_t a, uint64_t b) {
  asm volatile(
      "{.reg .pred add; setp.eq.b32 add, 0, 0;"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" OFFSHOOT_OPERANDS_0_63
      "}, %64, %65, add, 1, 1, %66, %67;}"
      : OFFSHOOT_64_REGISTERS(0)
      : "l"(a), "l"(b), "n"(kMnMajorA), "n"(kMnMajorB));
}

template <bool kMnMajorA, bool kMnMajorB>
__device__ __forceinline__ void wgmma(float (&d)[128], uint64_t a, uint64_t b) {
  asm volatile(
      "{.reg .pred add; setp.eq.b32 add, 0, 0;"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" OFFSHOOT_OPERANDS_0_63
      ", " OFFSHOOT_OPERANDS_64_127 "}, %128, %129, add, 1, 1, %130, %131;}"
      : OFFSHOOT_64_REGISTERS(0), OFFSHOOT_64_REGISTERS(64)
      : "l"(a), "l"(b), "n"(kMnMajorA), "n"(kMnMajorB));
}

}  // namespace offshoot::cuda

#undef OFFSHOOT_OPERANDS_0_63
#undef OFFSHOOT_OPERANDS_64_127
#undef OFFSHOOT_4_REGISTERS
#undef OFFSHOOT_16_REGISTERS
#undef OFFSHOOT_64_REGISTERS

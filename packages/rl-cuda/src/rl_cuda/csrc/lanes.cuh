// The 32 lanes of a warp as one value, and how work is spread over threads, warps and blocks.
//
// A kernel is a struct whose `operator()(int64_t item)` is what one warp does for one item. `Lanes<T>` holds a T in each
// lane: on the device a register of this lane, in the emulation an array. So one text runs on both, and the emulation
// (any C++ compiler, RL_CUDA_EMULATE defined) executes the logic of the kernels on a machine without a GPU, in an order
// of items that can be chosen.
#pragma once

#include <cstdint>

#ifdef RL_CUDA_EMULATE
#include <cstring>
#define RL_DEVICE inline
#define RL_DEVICE_HOST inline
using cudaStream_t = void*;
enum Status { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
#else
#include <cuda_runtime.h>
#define RL_DEVICE __device__ __forceinline__
#define RL_DEVICE_HOST __host__ __device__ __forceinline__
#endif

#define RL_CUDA_EXPORT extern "C" __attribute__((visibility("default")))

namespace rl_cuda {

constexpr int kLanes = 32;
constexpr int kThreads = 256;                 // of a block that works beside others
constexpr int64_t kMostBlocks = 0x7fffffff;   // that a grid has room for

// Blocks for so many threads; where a grid has no room for them, its threads take several items each.
inline unsigned blocks(int64_t threads) {
    const int64_t wanted = (threads + kThreads - 1) / kThreads;
    return static_cast<unsigned>(wanted < kMostBlocks ? wanted : kMostBlocks);
}

#ifndef RL_CUDA_EMULATE

constexpr unsigned kAll = 0xffffffffu;
constexpr int kSingleBlock = 1024;   // threads of a block that works alone

template <typename T>
struct Lanes {
    T own;
    RL_DEVICE T operator[](int) const { return own; }
};

RL_DEVICE int own_lane() { return threadIdx.x % kLanes; }

// f(lane) in every lane.
template <typename F>
RL_DEVICE auto each_lane(F f) -> Lanes<decltype(f(0))> { return {f(own_lane())}; }

// f() once for the warp.
template <typename F>
RL_DEVICE void once(F f) { if (own_lane() == 0) f(); }

// The value of one lane.
template <typename T>
RL_DEVICE T pick(const Lanes<T>& x, int lane) { return __shfl_sync(kAll, x.own, lane); }

// Lane i gets the value of lane i + offset, or its own where there is none.
template <typename T>
RL_DEVICE Lanes<T> from_above(const Lanes<T>& x, int offset) { return {__shfl_down_sync(kAll, x.own, offset)}; }

// Lane i gets the value of lane i - offset, or its own where there is none.
template <typename T>
RL_DEVICE Lanes<T> from_below(const Lanes<T>& x, int offset) { return {__shfl_up_sync(kAll, x.own, offset)}; }

// Bit i is set where lane i holds true.
RL_DEVICE uint32_t bits(const Lanes<bool>& x) { return __ballot_sync(kAll, x.own); }

RL_DEVICE int lowest(uint32_t set) { return __ffs(set) - 1; }
RL_DEVICE int highest(uint32_t set) { return 31 - __clz(set); }

// Memory at `at` becomes `leaf` if it is -1; what was there before.
RL_DEVICE int64_t claim(int64_t* at, int64_t leaf) {
    using word = unsigned long long;
    return static_cast<int64_t>(atomicCAS(reinterpret_cast<word*>(at), ~word(0), static_cast<word>(leaf)));
}

RL_DEVICE void raise_to(int32_t* at, int32_t value) { atomicMax(at, value); }

// For numbers that are not negative, whose bits have the order of the numbers.
RL_DEVICE void raise_to(double* at, double value) {
    atomicMax(reinterpret_cast<long long*>(at), __double_as_longlong(value));
}

RL_DEVICE void increase(int64_t* at) { atomicAdd(reinterpret_cast<unsigned long long*>(at), 1ull); }

template <typename Work>
__global__ void __launch_bounds__(kThreads, 1) run_warps(int64_t count, const __grid_constant__ Work work) {
    const int64_t stride = int64_t(gridDim.x) * (kThreads / kLanes);
    const int64_t first = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kLanes;
    for (int64_t warp = first; warp < count; warp += stride) work(warp);  // whole warps leave
}

template <typename Work>
__global__ void __launch_bounds__(kThreads, 1) run_threads(int64_t count, const __grid_constant__ Work work) {
    const int64_t stride = int64_t(gridDim.x) * kThreads;
    const int64_t first = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    for (int64_t thread = first; thread < count; thread += stride) work(thread);
}

// Phases one after the other: what one wrote, the next one reads.
template <typename Work>
__global__ void __launch_bounds__(kSingleBlock, 1) run_phases(const __grid_constant__ Work work) {
    for (int phase = 0; phase < work.phases(); ++phase) {
        const int64_t count = work.count(phase);
        for (int64_t warp = threadIdx.x / kLanes; warp < count; warp += kSingleBlock / kLanes) work(phase, warp);
        __syncthreads();
    }
}

template <typename Work>
void for_each_warp(cudaStream_t stream, int64_t count, const Work& work) {
    if (count > 0) run_warps<<<blocks(count * kLanes), kThreads, 0, stream>>>(count, work);
}

template <typename Work>
void for_each_thread(cudaStream_t stream, int64_t count, const Work& work) {
    if (count > 0) run_threads<<<blocks(count), kThreads, 0, stream>>>(count, work);
}

template <typename Work>
void in_one_block(cudaStream_t stream, const Work& work) { run_phases<<<1, kSingleBlock, 0, stream>>>(work); }

inline void fill_ones(cudaStream_t stream, void* at, int64_t bytes) { cudaMemsetAsync(at, 0xff, bytes, stream); }

inline int select(int device) { return cudaSetDevice(device); }
inline int status() { return cudaGetLastError(); }

#else  // the emulation

template <typename T>
struct Lanes {
    T all[kLanes];
    T operator[](int lane) const { return all[lane]; }
};

template <typename F>
auto each_lane(F f) -> Lanes<decltype(f(0))> {
    Lanes<decltype(f(0))> result;
    for (int lane = 0; lane < kLanes; ++lane) result.all[lane] = f(lane);
    return result;
}

template <typename F>
void once(F f) { f(); }

template <typename T>
T pick(const Lanes<T>& x, int lane) { return x.all[lane]; }

template <typename T>
Lanes<T> from_above(const Lanes<T>& x, int offset) {
    return each_lane([&](int lane) { return x.all[lane + offset < kLanes ? lane + offset : lane]; });
}

template <typename T>
Lanes<T> from_below(const Lanes<T>& x, int offset) {
    return each_lane([&](int lane) { return x.all[lane >= offset ? lane - offset : lane]; });
}

inline uint32_t bits(const Lanes<bool>& x) {
    uint32_t set = 0;
    for (int lane = 0; lane < kLanes; ++lane) set |= uint32_t(x.all[lane]) << lane;
    return set;
}

inline int lowest(uint32_t set) { return __builtin_ctz(set); }
inline int highest(uint32_t set) { return 31 - __builtin_clz(set); }

inline int64_t claim(int64_t* at, int64_t leaf) {
    const int64_t before = *at;
    if (before == -1) *at = leaf;
    return before;
}

inline void raise_to(int32_t* at, int32_t value) { if (*at < value) *at = value; }
inline void raise_to(double* at, double value) { if (*at < value) *at = value; }
inline void increase(int64_t* at) { ++*at; }

enum Order { kForward = 0, kBackward = 1, kOddFirst = 2 };
inline int order = kForward;

// The item that comes i-th.
inline int64_t item(int64_t i, int64_t count) {
    if (order == kBackward) return count - 1 - i;
    if (order == kOddFirst) return i < count / 2 ? 2 * i + 1 : 2 * (i - count / 2);
    return i;
}

template <typename Work>
void for_each_warp(cudaStream_t, int64_t count, const Work& work) {
    for (int64_t i = 0; i < count; ++i) work(item(i, count));
}

template <typename Work>
void for_each_thread(cudaStream_t stream, int64_t count, const Work& work) { for_each_warp(stream, count, work); }

template <typename Work>
void in_one_block(cudaStream_t, const Work& work) {
    for (int phase = 0; phase < work.phases(); ++phase)
        for (int64_t i = 0; i < work.count(phase); ++i) work(phase, item(i, work.count(phase)));
}

inline void fill_ones(cudaStream_t, void* at, int64_t bytes) { std::memset(at, 0xff, bytes); }

inline int select(int) { return cudaSuccess; }
inline int status() { return cudaSuccess; }

#endif

}  // namespace rl_cuda

// What the library says of itself and of the machine.
//
// The interface of all of it is plain C, no torch: device pointers, sizes and a stream go in, a cudaError_t comes out (0
// is success). Nothing waits for the device and nothing is allocated. The library carries its own CUDA runtime, which
// shares the device's primary context, and thereby pointers and streams, with any other runtime in the process.

#include "lanes.cuh"

#define RL_CUDA_STRING_(...) #__VA_ARGS__
#define RL_CUDA_STRING(...) RL_CUDA_STRING_(__VA_ARGS__)

// Architectures that the library holds machine code for, for example "75 80 90"; newer ones run its PTX.
RL_CUDA_EXPORT const char* rl_cuda_architectures() { return RL_CUDA_STRING(RL_CUDA_ARCHITECTURES); }

// Fingerprint of the sources that the library was built from.
RL_CUDA_EXPORT const char* rl_cuda_sources() { return RL_CUDA_STRING(RL_CUDA_SOURCES); }

#ifdef RL_CUDA_EMULATE

RL_CUDA_EXPORT int rl_cuda_device_count(int* count) {
    *count = 0;
    return cudaSuccess;
}

RL_CUDA_EXPORT const char* rl_cuda_error_string(int code) { return code == 0 ? "no error" : "invalid argument"; }

// In which order items are worked off from now on: 0 forward, 1 backward, 2 odd ones first.
RL_CUDA_EXPORT void rl_cuda_emulation_order(int order) { rl_cuda::order = order; }

// Blocks that a launch of so many threads has.
RL_CUDA_EXPORT int64_t rl_cuda_emulation_blocks(int64_t threads) { return rl_cuda::blocks(threads); }

#else

// Writes the number of CUDA devices; the error is that of cudaGetDeviceCount.
RL_CUDA_EXPORT int rl_cuda_device_count(int* count) { return cudaGetDeviceCount(count); }

// What an error code means, for people.
RL_CUDA_EXPORT const char* rl_cuda_error_string(int code) {
    return cudaGetErrorString(static_cast<cudaError_t>(code));
}

#endif
